#!/usr/bin/env python3
"""Builds sample_job_0.1.zip, laid out as Talend Studio 8 lays out a built job.

usage: build.py [--check]

Needs JDK 17. With the same JDK the same bytes come out; --check compares them with those in the
repository and writes nothing.
"""

import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "sample_job_0.1.zip"

JOB = "sample_job"
JAR = "sample_job_0_1.jar"
CLASS = "gantry.sample_job_0_1.sample_job"
LIBRARIES = ["routines.jar", "sample-clock-1.0.jar"]
JVM = ["-Xms64M", "-Xmx256M"]
MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: Gantry sample\r\n\r\n"

# 2026-03-02 10:20:30, in the format of MS-DOS.
TIME = 10 << 11 | 20 << 5 | 30 // 2
DATE = (2026 - 1980) << 9 | 3 << 5 | 2


def main():
    with tempfile.TemporaryDirectory() as temporary:
        files = tree(Path(temporary))
    archive = pack(files, folders_first=True)
    if sys.argv[1:] == ["--check"]:
        if OUTPUT.read_bytes() != archive:
            sys.exit(f"{OUTPUT.name} is not what its sources make with this JDK")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        OUTPUT.write_bytes(archive)


def tree(work):
    """All files of the built job, by path."""
    clock = compile_java(work / "clock", "src/clock", [])
    routines = compile_java(work / "routines", "src/routines", [])
    job = compile_java(work / "job", "src/job", [work / "clock", work / "routines"])

    files = read(HERE / "files")
    contexts = {path[len(JOB) + 1 :]: data for path, data in files.items() if "/contexts/" in path}
    files["lib/routines.jar"] = jar(routines)
    files["lib/sample-clock-1.0.jar"] = jar(clock)
    files[f"{JOB}/{JAR}"] = jar({**job, **contexts})
    for path, data in read(HERE / "src/job").items():
        files[f"{JOB}/src/main/java/{path}"] = data
    for path, data in contexts.items():
        files[f"{JOB}/src/main/resources/{path}"] = data
    for end, text in launchers().items():
        files[f"{JOB}/{JOB}_run.{end}"] = text.encode()
    return files


def launchers():
    """The launchers as Studio's templates give them: no line end at the end, and PowerShell gets
    cmd's `%cd%`."""
    jvm = " ".join(JVM)
    unix = ":".join([".", "$ROOT_PATH", *("$ROOT_PATH/../lib/" + name for name in LIBRARIES)])
    windows = ";".join([".", *("../lib/" + name for name in LIBRARIES)])
    return {
        "sh": "#!/bin/sh\n"
        "cd `dirname $0`\n"
        "ROOT_PATH=`pwd`\n"
        f"java -Dtalend.component.manager.m2.repository=$ROOT_PATH/../lib {jvm} "
        f'-cp {unix}:$ROOT_PATH/{JAR}: {CLASS}  --context=Default "$@" ',
        "bat": "%~d0\r\n"
        "cd %~dp0\r\n"
        f"java -Dtalend.component.manager.m2.repository=%cd%/../lib {jvm} "
        f"-cp {windows};{JAR}; {CLASS}  --context=Default %* ",
        "ps1": "$fileDir = Split-Path -Parent $MyInvocation.MyCommand.Path\n"
        "cd $fileDir\n"
        "java '-Dtalend.component.manager.m2.repository=%cd%/../lib' "
        + " ".join(f"'{option}'" for option in JVM)
        + f" -cp '{windows};{JAR};' {CLASS}  --context=Default $args ",
    }


def compile_java(output, sources, class_path):
    sources = sorted(str(path) for path in (HERE / sources).rglob("*.java"))
    command = ["javac", "--release", "11", "-g:none", "-encoding", "UTF-8", "-Xlint:all", "-Werror"]
    if class_path:
        command += ["-cp", ":".join(map(str, class_path))]
    subprocess.run([*command, "-d", str(output), *sources], check=True)
    return read(output)


def read(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def jar(files):
    return pack({"META-INF/MANIFEST.MF": MANIFEST, **files}, folders_first=False)


def pack(files, folders_first):
    """A zip archive as Studio's archiver writes it: made on Unix, names marked as UTF-8, sizes in
    the local headers and in data descriptors as well, no extra fields."""
    folders = sorted(
        {path[: at + 1] for path in files for at, char in enumerate(path) if char == "/"}
    )
    entries = [(folder, None) for folder in folders]
    if folders_first:
        entries += files.items()
    else:
        # A jar begins with its manifest.
        (manifest, *rest) = files.items()
        entries = [manifest, *entries, *rest]

    body, directory = bytearray(), bytearray()
    for path, data in entries:
        name = path.encode()
        if data is None:
            flags, method, needed, mode, dos = 0x0800, 0, 10, 0o040755, 0x10
            data = packed = b""
        else:
            flags, method, needed, mode, dos = 0x0808, 8, 20, 0o100644, 0
            deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = deflate.compress(data) + deflate.flush()
        sizes = struct.pack("<III", zlib.crc32(data), len(packed), len(data))
        stamps = struct.pack("<HHHH", flags, method, TIME, DATE)
        directory += b"PK\x01\x02" + struct.pack("<BBH", 20, 3, needed) + stamps + sizes
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, mode << 16 | dos, len(body))
        directory += name
        body += b"PK\x03\x04" + struct.pack("<H", 10) + stamps + sizes
        body += struct.pack("<HH", len(name), 0) + name + packed
        if flags & 8:
            body += b"PK\x07\x08" + sizes
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return bytes(body + directory + b"PK\x05\x06" + end)


if __name__ == "__main__":
    main()
