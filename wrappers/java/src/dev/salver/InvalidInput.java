package dev.salver;

/** Refuses a request: its caller is answered 400 with the message. */
public final class InvalidInput extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public InvalidInput(String message) {
        super(message);
    }
}
