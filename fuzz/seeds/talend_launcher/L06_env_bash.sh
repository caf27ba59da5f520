#!/usr/bin/env bash
cd "$(dirname "$0")"
java -jar load_0_1.jar "$@"
