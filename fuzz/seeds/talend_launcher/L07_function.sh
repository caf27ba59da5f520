#!/bin/sh
cd `dirname $0`
run() {
    java -cp . demo.load_0_1.load "$@"
}
run "$@"
