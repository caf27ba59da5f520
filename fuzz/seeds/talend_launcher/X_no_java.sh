#!/bin/sh
echo "java -cp . is not started here"
