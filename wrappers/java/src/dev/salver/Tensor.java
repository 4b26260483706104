package dev.salver;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A name, a datatype, a shape and the elements as little-endian bytes, rows one after another. */
public record Tensor(String name, String datatype, int[] shape, byte[] bytes) {

    // Out of values. Without a shape, the values are one dimension.

    public static Tensor of(String name, double[] values, int... shape) {
        ByteBuffer buffer = buffer(values.length * 8);
        buffer.asDoubleBuffer().put(values);
        return made(name, "FP64", values.length, shape, buffer.array());
    }

    public static Tensor of(String name, float[] values, int... shape) {
        ByteBuffer buffer = buffer(values.length * 4);
        buffer.asFloatBuffer().put(values);
        return made(name, "FP32", values.length, shape, buffer.array());
    }

    public static Tensor of(String name, long[] values, int... shape) {
        ByteBuffer buffer = buffer(values.length * 8);
        buffer.asLongBuffer().put(values);
        return made(name, "INT64", values.length, shape, buffer.array());
    }

    public static Tensor of(String name, int[] values, int... shape) {
        ByteBuffer buffer = buffer(values.length * 4);
        buffer.asIntBuffer().put(values);
        return made(name, "INT32", values.length, shape, buffer.array());
    }

    public static Tensor of(String name, boolean[] values, int... shape) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            bytes[i] = (byte) (values[i] ? 1 : 0);
        }
        return made(name, "BOOL", values.length, shape, bytes);
    }

    public static Tensor of(String name, String[] values, int... shape) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (String value : values) {
            byte[] text = value.getBytes(StandardCharsets.UTF_8);
            bytes.writeBytes(buffer(4).putInt(text.length).array());
            bytes.writeBytes(text);
        }
        return made(name, "BYTES", values.length, shape, bytes.toByteArray());
    }

    // Into values.

    /** The elements of any datatype of numbers as doubles. */
    public double[] doubles() {
        ByteBuffer data = data();
        double[] values = new double[size()];
        if (datatype.equals("FP64")) {
            data.asDoubleBuffer().get(values);
            return values;
        }
        for (int i = 0; i < values.length; i++) {
            values[i] = number(data, i);
        }
        return values;
    }

    /** The elements of any datatype of numbers as floats. */
    public float[] floats() {
        float[] values = new float[size()];
        if (datatype.equals("FP32")) {
            data().asFloatBuffer().get(values);
            return values;
        }
        double[] doubles = doubles();
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) doubles[i];
        }
        return values;
    }

    /** The elements of any datatype of whole numbers. */
    public long[] longs() {
        long[] values = new long[size()];
        ByteBuffer data = data();
        for (int i = 0; i < values.length; i++) {
            values[i] = whole(data, i);
        }
        return values;
    }

    /** The elements of datatype BYTES, each the UTF-8 of a text. */
    public String[] strings() {
        List<String> found = new ArrayList<>();
        for (byte[] each : elements()) {
            found.add(new String(each, StandardCharsets.UTF_8));
        }
        return found.toArray(new String[0]);
    }

    /** The elements of datatype BYTES. */
    public List<byte[]> elements() {
        if (!datatype.equals("BYTES")) {
            throw new InvalidInput("input '" + name + "' is " + datatype + "; send strings");
        }
        List<byte[]> found = new ArrayList<>();
        ByteBuffer data = data();
        while (data.hasRemaining()) {
            byte[] each = new byte[data.getInt()];
            data.get(each);
            found.add(each);
        }
        return found;
    }

    /** The bytes, to be read in the order that they are in. */
    public ByteBuffer data() {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** How many elements there are. */
    public int size() {
        int size = 1;
        for (int each : shape) {
            size *= each;
        }
        return size;
    }

    /** How many rows: the first dimension. */
    public int rows() {
        return shape.length == 0 ? 1 : shape[0];
    }

    private double number(ByteBuffer data, int i) {
        return switch (datatype) {
            case "FP64" -> data.getDouble(8 * i);
            case "FP32" -> data.getFloat(4 * i);
            case "BF16" -> Float.intBitsToFloat(data.getShort(2 * i) << 16);
            case "UINT64" -> {
                long bits = data.getLong(8 * i);
                yield bits >= 0 ? bits : (bits >>> 1 | bits & 1) * 2.0;
            }
            default -> whole(data, i);
        };
    }

    private long whole(ByteBuffer data, int i) {
        return switch (datatype) {
            case "INT64", "UINT64" -> data.getLong(8 * i);
            case "INT32" -> data.getInt(4 * i);
            case "UINT32" -> data.getInt(4 * i) & 0xFFFFFFFFL;
            case "INT16" -> data.getShort(2 * i);
            case "UINT16" -> data.getShort(2 * i) & 0xFFFF;
            case "INT8" -> data.get(i);
            case "UINT8", "BOOL" -> data.get(i) & 0xFF;
            default -> throw new InvalidInput("input '" + name + "' is " + datatype
                    + ", which this model does not take; send FP64, FP32 or whole numbers");
        };
    }

    private static ByteBuffer buffer(int size) {
        return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static Tensor made(String name, String type, int count, int[] shape, byte[] bytes) {
        int[] sizes = shape.length == 0 ? new int[] {count} : shape;
        Tensor tensor = new Tensor(name, type, sizes, bytes);
        if (tensor.size() != count) {
            throw new IllegalArgumentException("output '" + name + "' has " + count
                    + " values, its shape [" + Signature.text(sizes) + "] needs " + tensor.size());
        }
        return tensor;
    }
}
