package dev.salver;

import java.util.List;
import java.util.Map;

/** The inputs by name, the parameters, and the outputs wanted (none: all). */
public record Request(
        Map<String, Tensor> inputs, Map<String, String> parameters, List<String> outputs) {

    /** The input of that name. */
    public Tensor input(String name) {
        Tensor found = inputs.get(name);
        if (found == null) {
            throw new InvalidInput("input '" + name + "' is missing; there are " + inputs.keySet());
        }
        return found;
    }
}
