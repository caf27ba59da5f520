package routines;

import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;

/** Text for people. */
public final class SampleText {
  private SampleText() {}

  /** Returns {@code key=value} for each property, sorted by key; passwords are masked. */
  public static List<String> lines(Properties properties) {
    TreeMap<String, String> sorted = new TreeMap<>();
    for (String key : properties.stringPropertyNames()) {
      sorted.put(key, key.endsWith("password") ? "***" : properties.getProperty(key));
    }
    List<String> lines = new ArrayList<>();
    sorted.forEach((key, value) -> lines.add(key + "=" + value));
    return lines;
  }
}
