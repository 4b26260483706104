package dev.salver;

import java.util.List;

/** A model to be served by {@link Salver#serve}. Called from one thread, a request at a time. */
public interface Model {
    /** What it takes and gives. Without inputs it takes whatever it is sent. */
    default Signature signature() {
        return new Signature();
    }

    /**
     * The outputs for a request.
     *
     * @throws InvalidInput if the request is at fault; anything else is a failure of the model
     */
    List<Tensor> predict(Request request) throws Exception;
}
