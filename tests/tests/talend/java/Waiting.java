package waiting;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;

/** Says which process it is and what it was started with, waits, and leaves a file when it is stopped. */
public class Waiting {
    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                Files.writeString(Path.of("/tmp/stopped"), "the hook ran\n");
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        System.out.println("process " + ProcessHandle.current().pid() + ": " + String.join("|", args));
        System.out.flush();
        new CountDownLatch(1).await();
    }
}
