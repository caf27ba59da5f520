#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
java -Xms256M -cp ${talend.job.sh.classpath} ${talend.job.class} ${talend.job.sh.addition} "$@" 