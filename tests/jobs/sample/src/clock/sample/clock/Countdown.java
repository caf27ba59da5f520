package sample.clock;

import java.util.concurrent.TimeUnit;

/** Waits for a time that starts when it is made. */
public final class Countdown {
  private final long end;

  private Countdown(long end) {
    this.end = end;
  }

  /** Returns a countdown that has a number of seconds to go. */
  public static Countdown of(long seconds) {
    return new Countdown(System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds));
  }

  /** Waits for the end. */
  public void await() throws InterruptedException {
    long left = end - System.nanoTime();
    while (left > 0) {
      TimeUnit.NANOSECONDS.sleep(left);
      left = end - System.nanoTime();
    }
  }
}
