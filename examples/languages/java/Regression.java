import dev.salver.Model;
import dev.salver.Request;
import dev.salver.Salver;
import dev.salver.Signature;
import dev.salver.Tensor;
import java.util.List;

/** A linear regression with its coefficients in the code. */
public final class Regression implements Model {
    private static final double[] COEFFICIENTS = {0.5, -1.0, 2.0, 0.25};
    private static final double INTERCEPT = 3.0;

    @Override
    public Signature signature() {
        return new Signature()
                .input("x", "FP64", -1, COEFFICIENTS.length)
                .output("y", "FP64", -1)
                .batchable();
    }

    @Override
    public List<Tensor> predict(Request request) {
        Tensor x = request.input("x");
        double[] values = x.doubles();
        double[] y = new double[x.rows()];
        for (int row = 0; row < y.length; row++) {
            y[row] = INTERCEPT;
            for (int i = 0; i < COEFFICIENTS.length; i++) {
                y[row] += COEFFICIENTS[i] * values[row * COEFFICIENTS.length + i];
            }
        }
        return List.of(Tensor.of("y", y));
    }

    public static void main(String[] arguments) throws Exception {
        Salver.serve(new Regression());
    }
}
