package demo.NAME_0_1;

import java.util.ArrayList;
import java.util.List;

/** Runs its child as a process of its own, in the way in which the Studio's tRunJob does it. */
public class NAME {
    public static void main(String[] args) throws Exception {
        System.out.println("NAME says " + routines.Text.hello());
        // A constant of the job's class: no rename of files reaches it.
        String classPath = ".:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/NAME_0_1.jar:"
                + "$ROOT_PATH/NAMEchild_0_1.jar:";
        String directory = System.getProperty("user.dir");
        List<String> command = new ArrayList<>(List.of("java", "-Xms16M", "-cp",
                classPath.replace("$ROOT_PATH", directory),
                "demo.NAMEchild_0_1.NAMEchild", "--father_pid=NAME", "--context=Default"));
        command.addAll(List.of(args));
        Process child = new ProcessBuilder(command).inheritIO().start();
        int code = child.waitFor();
        System.out.println("NAME saw its child end with " + code);
        System.exit(code);
    }
}
