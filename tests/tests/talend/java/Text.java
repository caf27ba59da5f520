package routines;

/** A routine of the project: two jobs are built from two states of it. */
public class Text {
    public static String hello() {
        return "HELLO";
    }
}
