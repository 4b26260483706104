package dev.salver;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Serves a model over Salver's framed protocol (docs/framed-protocol.md): reads requests from
 * standard input until it ends, writes answers. Whatever the model prints goes to its log.
 */
public final class Salver {
    private static final int MAGIC = 0x52564C53; // "SLVR", little-endian

    private final Model model;
    private final DataInputStream in;
    private final OutputStream out;

    private Salver(Model model, DataInputStream in, OutputStream out) {
        this.model = model;
        this.in = in;
        this.out = out;
    }

    /** Returns when there are no more requests. */
    public static void serve(Model model) throws IOException {
        String answers = System.getenv("SALVER_ANSWERS");
        OutputStream out = answers == null
                ? new FileOutputStream(FileDescriptor.out)
                : new FileOutputStream(answers);
        System.setOut(System.err);
        DataInputStream in = new DataInputStream(
                new BufferedInputStream(new FileInputStream(FileDescriptor.in), 1 << 16));
        new Salver(model, in, out).run();
    }

    private void run() throws IOException {
        List<List<String>> hello = new ArrayList<>();
        hello.add(List.of("hello", "1"));
        hello.add(List.of("platform", "java"));
        hello.addAll(model.signature().lines());
        send(hello, List.of());
        while (true) {
            byte[] prefix = new byte[12];
            try {
                in.readFully(prefix);
            } catch (EOFException end) {
                return;
            }
            ByteBuffer numbers = ByteBuffer.wrap(prefix).order(ByteOrder.LITTLE_ENDIAN);
            if (numbers.getInt() != MAGIC) {
                throw new IOException("what was read is no message");
            }
            byte[] head = new byte[numbers.getInt()];
            byte[] body = new byte[numbers.getInt()];
            in.readFully(head);
            in.readFully(body);
            answer(new String(head, StandardCharsets.UTF_8).split("\n"), body);
        }
    }

    private void answer(String[] lines, byte[] body) throws IOException {
        String[] first = fields(lines[0]);
        if (first[0].equals("ping")) {
            send(List.of(List.of("pong", first[1])), List.of());
        } else if (first[0].equals("request")) {
            predict(first[1], lines, body);
        }
    }

    private void predict(String id, String[] lines, byte[] body) throws IOException {
        List<List<String>> head = new ArrayList<>();
        List<byte[]> bodies = new ArrayList<>();
        try {
            head.add(List.of("answer", id));
            for (Tensor each : model.predict(request(lines, body))) {
                head.add(List.of("output", each.name(), each.datatype(),
                        Signature.text(each.shape()), String.valueOf(each.bytes().length)));
                bodies.add(each.bytes());
            }
        } catch (InvalidInput error) {
            refuse(id, "input", String.valueOf(error.getMessage()));
            return;
        } catch (OutOfMemoryError error) {
            // What is left of this process is of no use; the next one begins afresh.
            error.printStackTrace();
            Runtime.getRuntime().halt(3);
        } catch (Throwable error) {
            error.printStackTrace();
            refuse(id, "model", error.toString());
            return;
        }
        send(head, bodies);
    }

    private void refuse(String id, String kind, String text) throws IOException {
        send(List.of(List.of("error", id, kind, text)), List.of());
    }

    private static Request request(String[] lines, byte[] body) {
        Map<String, Tensor> inputs = new LinkedHashMap<>();
        Map<String, String> parameters = new LinkedHashMap<>();
        List<String> outputs = new ArrayList<>();
        int offset = 0;
        for (String line : lines) {
            String[] fields = fields(line);
            switch (fields[0]) {
                case "input" -> {
                    byte[] bytes = new byte[Integer.parseInt(fields[4])];
                    System.arraycopy(body, offset, bytes, 0, bytes.length);
                    offset += bytes.length;
                    inputs.put(fields[1],
                            new Tensor(fields[1], fields[2], shape(fields[3]), bytes));
                }
                case "parameter" -> parameters.put(fields[1], fields[2]);
                case "output" -> outputs.add(fields[1]);
                default -> { } // A later version of the protocol may say more.
            }
        }
        return new Request(inputs, parameters, outputs);
    }

    private static int[] shape(String text) {
        if (text.isEmpty()) {
            return new int[0];
        }
        String[] sizes = text.split(",");
        int[] shape = new int[sizes.length];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = Integer.parseInt(sizes[i]);
        }
        return shape;
    }

    private void send(List<List<String>> lines, List<byte[]> bodies) throws IOException {
        StringBuilder text = new StringBuilder();
        for (List<String> line : lines) {
            for (int i = 0; i < line.size(); i++) {
                text.append(i == 0 ? (text.length() == 0 ? "" : "\n") : "\t");
                escape(text, line.get(i));
            }
        }
        byte[] head = text.toString().getBytes(StandardCharsets.UTF_8);
        int size = 0;
        for (byte[] each : bodies) {
            size = Math.addExact(size, each.length);
        }
        ByteBuffer message = ByteBuffer.allocate(12 + head.length + size);
        message.order(ByteOrder.LITTLE_ENDIAN).putInt(MAGIC).putInt(head.length).putInt(size);
        message.put(head);
        bodies.forEach(message::put);
        out.write(message.array());
        out.flush();
    }

    private static void escape(StringBuilder text, String field) {
        for (int i = 0; i < field.length(); i++) {
            char each = field.charAt(i);
            switch (each) {
                case '\\' -> text.append("\\\\");
                case '\t' -> text.append("\\t");
                case '\n' -> text.append("\\n");
                case '\r' -> text.append("\\r");
                default -> text.append(each);
            }
        }
    }

    private static String[] fields(String line) {
        String[] fields = line.split("\t", -1);
        if (line.indexOf('\\') >= 0) {
            for (int i = 0; i < fields.length; i++) {
                fields[i] = plain(fields[i]);
            }
        }
        return fields;
    }

    private static String plain(String field) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < field.length(); i++) {
            char each = field.charAt(i);
            if (each != '\\' || i + 1 == field.length()) {
                text.append(each);
                continue;
            }
            char next = field.charAt(++i);
            text.append(next == 't' ? '\t' : next == 'n' ? '\n' : next == 'r' ? '\r' : next);
        }
        return text.toString();
    }
}
