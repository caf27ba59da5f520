package gantry.sample_job_0_1;

import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;

import routines.SampleText;
import sample.clock.Countdown;

/**
 * A job with the command line of a Talend job: {@code --context=NAME} picks a context, each
 * {@code --context_param KEY=VALUE} overrides one of its values, and the last one of a kind wins.
 *
 * <p>It prints its context and process id, waits for {@code seconds}, and ends with the status
 * {@code exit}. When it is stopped before, its shutdown hook says so.
 */
public class sample_job {
  private static final String NAME = "sample_job 0.1";

  private String contextName = "Default";
  private final Properties params = new Properties();

  public static void main(String[] args) {
    System.exit(new sample_job().runJobInTOS(args));
  }

  /** Runs the job and returns its exit status. */
  public int runJobInTOS(String[] args) {
    if (!parse(args)) {
      return 1;
    }
    Properties context = new Properties();
    if (!load(context)) {
      return 1;
    }
    context.putAll(params);

    long seconds;
    int exit;
    try {
      seconds = Long.parseLong(context.getProperty("seconds", "0"));
      exit = Integer.parseInt(context.getProperty("exit", "0"));
    } catch (NumberFormatException e) {
      return fail("`seconds` and `exit` must be whole numbers: " + e.getMessage());
    }

    AtomicBoolean ended = new AtomicBoolean();
    Thread hook = new Thread(() -> say(ended.get() ? "the job has ended" : "the job was stopped"));
    Runtime.getRuntime().addShutdownHook(hook);

    say("context " + contextName + ", pid " + ProcessHandle.current().pid());
    for (String line : SampleText.lines(context)) {
      say(line);
    }
    say("waiting for " + seconds + " s");
    try {
      Countdown.of(seconds).await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return fail("interrupted");
    }
    ended.set(true);
    return exit;
  }

  private boolean parse(String[] args) {
    for (int i = 0; i < args.length; i++) {
      String arg = args[i];
      if (arg.startsWith("--context=")) {
        contextName = arg.substring("--context=".length());
      } else if (arg.equals("--context_param") && i + 1 < args.length) {
        if (!parseParam(args[++i])) {
          return false;
        }
      } else if (arg.startsWith("--context_param=")) {
        if (!parseParam(arg.substring("--context_param=".length()))) {
          return false;
        }
      } else if (!arg.startsWith("--")) {
        fail("`" + arg + "` is no argument of a job");
        return false;
      }
      // Other options, such as those of a job server, are for others.
    }
    return true;
  }

  private boolean parseParam(String param) {
    int equals = param.indexOf('=');
    if (equals < 1) {
      fail("`" + param + "` is not of the form KEY=VALUE");
      return false;
    }
    params.setProperty(param.substring(0, equals), param.substring(equals + 1));
    return true;
  }

  /** Loads a context from the class path, whose first entry is the folder of the launcher. */
  private boolean load(Properties context) {
    String path = "gantry/sample_job_0_1/contexts/" + contextName + ".properties";
    try (InputStream file = sample_job.class.getClassLoader().getResourceAsStream(path)) {
      if (file == null) {
        fail("there is no context `" + contextName + "`");
        return false;
      }
      context.load(file);
      return true;
    } catch (IOException e) {
      fail("reading `" + path + "`: " + e.getMessage());
      return false;
    }
  }

  private static void say(String line) {
    System.out.println(NAME + ": " + line);
  }

  private static int fail(String why) {
    System.err.println(NAME + ": " + why);
    return 1;
  }
}
