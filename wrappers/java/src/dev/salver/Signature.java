package dev.salver;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** What a model says of itself: inputs, outputs, and how it may be asked. */
public final class Signature {
    private final List<List<String>> lines = new ArrayList<>();

    /** An input; -1 in the shape is any size, the first of them the number of rows. */
    public Signature input(String name, String datatype, int... shape) {
        lines.add(List.of("input", name, datatype, text(shape)));
        return this;
    }

    public Signature output(String name, String datatype, int... shape) {
        lines.add(List.of("output", name, datatype, text(shape)));
        return this;
    }

    /** The rows of several requests may be predicted together. */
    public Signature batchable() {
        lines.add(List.of("batchable", "yes"));
        return this;
    }

    /** A request must not be asked a second time, even if this process dies over it. */
    public Signature onlyOnce() {
        lines.add(List.of("idempotent", "no"));
        return this;
    }

    List<List<String>> lines() {
        return lines;
    }

    static String text(int[] shape) {
        return Arrays.stream(shape).mapToObj(String::valueOf).collect(Collectors.joining(","));
    }
}
