//! Base, compiler and runner images from an application's name and version (Grocker).
