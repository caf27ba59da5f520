#!/bin/sh
sudo -u talend java -cp . demo.load_0_1.load "$@"
