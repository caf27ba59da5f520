package demo.NAMEchild_0_1;

import java.io.InputStream;
import java.util.Properties;

/** A child job: has a context of its own, found on the class path from where the parent runs. */
public class NAMEchild {
    public static void main(String[] args) throws Exception {
        Properties context = new Properties();
        String path = "demo/NAMEchild_0_1/contexts/Default.properties";
        try (InputStream file = NAMEchild.class.getClassLoader().getResourceAsStream(path)) {
            context.load(file);
        }
        System.out.println("NAMEchild says " + routines.Text.hello() + ", " + context.getProperty("greeting"));
        System.exit(Integer.parseInt(context.getProperty("exit")));
    }
}
