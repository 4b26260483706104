import dev.salver.InvalidInput;
import dev.salver.Model;
import dev.salver.Request;
import dev.salver.Salver;
import dev.salver.Signature;
import dev.salver.Tensor;
import java.util.List;

/** Text in, text out; refuses a request that names nobody. */
public final class Greeting implements Model {
    @Override
    public Signature signature() {
        return new Signature().input("name", "BYTES", -1).output("greeting", "BYTES", -1).batchable();
    }

    @Override
    public List<Tensor> predict(Request request) {
        String[] names = request.input("name").strings();
        String[] greetings = new String[names.length];
        for (int i = 0; i < names.length; i++) {
            if (names[i].isBlank()) {
                throw new InvalidInput("name " + i + " is empty: send one");
            }
            System.out.println("greeting " + names[i]); // Goes to the model's log.
            greetings[i] = "Hello, " + names[i] + "!";
        }
        return List.of(Tensor.of("greeting", greetings));
    }

    public static void main(String[] arguments) throws Exception {
        Salver.serve(new Greeting());
    }
}
