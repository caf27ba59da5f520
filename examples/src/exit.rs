use ocicore::Class;

/// The part of `--help` that tells the exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done                          5  conflict, e.g. a tag that moved
  1  any other failure             6  invalid input or content
  2  wrong command line            7  not supported
  3  not found                     8  may work when tried again
  4  not allowed                   9  a limit was reached, e.g. disk full
  130  interrupted";

/// The exit code of a failure.
pub fn exit_code(class: Class) -> u8 {
    match class {
        Class::NotFound => 3,
        Class::Denied => 4,
        Class::Conflict => 5,
        Class::Invalid => 6,
        Class::Unsupported => 7,
        Class::Transient => 8,
        Class::Exhausted => 9,
        Class::Cancelled => 130,
        _ => 1,
    }
}
