#!/bin/sh
cat <<END
java -cp . wrong.Main
END
java -cp . demo.load_0_1.load "$@"
