#!/bin/sh
# Toree as a Spark application that spark-driver has made the configuration of.
#
#     spark-driver toree [OPTION OF TOREE...]
set -eu

memory=$(sed -n 's/^spark.driver.memory //p' "$SPARK_CONF_DIR/spark-defaults.conf" | tail -n 1)
exec java @/opt/kernel/java.options "-Xmx${memory:-1g}" -Dspark.ui.enabled=true \
    -Dspark.extraListeners=org.apache.toree.kernel.interpreter.scala.Tasks \
    "-Dlog4j2.configurationFile=$SPARK_CONF_DIR/log4j2.properties" \
    org.apache.spark.deploy.SparkSubmit --class org.apache.toree.Main spark-internal "$@"
