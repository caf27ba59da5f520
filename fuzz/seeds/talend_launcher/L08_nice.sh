#!/bin/sh
cd `dirname $0` && nice -n 10 java -cp . demo.load_0_1.load --context=Default "$@"
