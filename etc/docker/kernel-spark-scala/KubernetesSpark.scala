/** A plug-in of Toree, for a Spark whose executors are pods.
  *
  * An interrupt ends the cell, cancels Spark's jobs and ends their tasks. Where there is no Spark it starts none;
  * Toree's own does, and lets the tasks run on. A cell that waits for executors says what the cluster says of them, and
  * what Spark warns of.
  *
  * It is in a package of Toree's because only there can the cell that runs be reached. Threads: an interrupt comes in
  * one of the JVM's, warnings in any of Spark's; looking at executors is a thread of its own.
  */
package org.apache.toree.kernel.interpreter.scala

import io.fabric8.kubernetes.api.model.Pod
import io.fabric8.kubernetes.client.{KubernetesClient, KubernetesClientBuilder}
import org.apache.logging.log4j.{Level, LogManager}
import org.apache.logging.log4j.core.{LogEvent, Logger}
import org.apache.logging.log4j.core.appender.AbstractAppender
import org.apache.logging.log4j.core.config.Property
import org.apache.spark.SparkEnv
import org.apache.spark.scheduler.{SparkListener, SparkListenerTaskEnd, SparkListenerTaskStart}
import org.apache.spark.sql.SparkSession
import org.apache.toree.kernel.api.Kernel
import org.apache.toree.plugins.Plugin
import org.apache.toree.plugins.annotations.Event
import sun.misc.Signal

import java.util.concurrent.ConcurrentHashMap

import _root_.scala.collection.JavaConverters._
import _root_.scala.concurrent.duration._
import _root_.scala.util.control.NonFatal

class KubernetesSpark extends Plugin {
  private val lookMilliseconds = 5000
  private val pollMilliseconds = 50
  private val cancelTime = 10.seconds
  private var said = Set.empty[String]

  @Event(name = "allInterpretersReady")
  def begin(kernel: Kernel): Unit = {
    val interpreter = kernel.interpreter.asInstanceOf[ScalaInterpreter]
    Signal.handle(new Signal("USR2"), _ => interrupt(interpreter))
    LogManager.getLogger("org.apache.spark").asInstanceOf[Logger].addAppender(new Teller(tell(kernel, _)))
    val looks = new Thread(() => look(kernel, interpreter), "executors")
    looks.setDaemon(true)
    looks.start()
  }

  private def interrupt(interpreter: ScalaInterpreter): Unit = SparkSession.getDefaultSession match {
    case None => interpreter.taskManager.restart()
    case Some(session) =>
      val context = session.sparkContext
      val stages = context.statusTracker.getActiveStageIds.toSet
      interpreter.interrupt()
      val cancelled = cancelTime.fromNow
      while (context.statusTracker.getActiveStageIds.exists(stages) && cancelled.hasTimeLeft)
        Thread.sleep(pollMilliseconds)
      // Without this they would run on, and keep executors from the next job.
      Tasks.of(stages).foreach(context.killTaskAttempt(_, interruptThread = true, reason = "interrupted"))
  }

  private def look(kernel: Kernel, interpreter: ScalaInterpreter): Unit = {
    lazy val client = new KubernetesClientBuilder().build()
    while (true) {
      Thread.sleep(lookMilliseconds)
      if (!interpreter.taskManager.isExecutingTask) said = Set.empty
      else if (waits)
        try tellNew(kernel, reasons(client))
        catch { case NonFatal(error) => tellNew(kernel, Set(s"its executors cannot be looked at: $error")) }
    }
  }

  /** Whether a cell waits: Spark is being started, or has work and nobody who does it. */
  private def waits: Boolean = SparkSession.getDefaultSession match {
    case None => SparkEnv.get != null
    case Some(session) =>
      val tracker = session.sparkContext.statusTracker
      // The driver is one of them.
      tracker.getActiveStageIds.nonEmpty && tracker.getExecutorInfos.length <= 1
  }

  private def tellNew(kernel: Kernel, found: Set[String]): Unit = {
    (found -- said).toSeq.sorted.foreach(reason => tell(kernel, s"Spark waits for executors: $reason"))
    said ++= found
  }

  private def tell(kernel: Kernel, line: String): Unit = kernel.err.println(line)

  private def reasons(client: KubernetesClient): Set[String] =
    client.pods
      .withLabel("component", "worker")
      .withLabel("kernel_id", sys.env("KERNEL_ID"))
      .list.getItems.asScala.flatMap(KubernetesSpark.reasons).toSet
}

object KubernetesSpark {

  /** Why a pod does not run, in Kubernetes' words. */
  def reasons(pod: Pod): Seq[String] = {
    val unscheduled = pod.getStatus.getConditions.asScala
      .filter(condition => condition.getType == "PodScheduled" && condition.getStatus == "False")
      .map(_.getMessage)
    val states = pod.getStatus.getContainerStatuses.asScala.map(_.getState)
    val waiting = states.flatMap(state => Option(state.getWaiting))
      .filterNot(state => Set("ContainerCreating", "PodInitializing")(state.getReason))
      .map(state => s"${state.getReason}: ${state.getMessage}")
    val ended = states.flatMap(state => Option(state.getTerminated))
      .filter(_.getExitCode != 0)
      .map(state => s"one ended with exit code ${state.getExitCode} (${state.getReason})")
    unscheduled ++ waiting ++ ended
  }
}

/** The tasks that run, for spark.extraListeners. */
class Tasks extends SparkListener {
  override def onTaskStart(start: SparkListenerTaskStart): Unit = Tasks.stages.put(start.taskInfo.taskId, start.stageId)
  override def onTaskEnd(end: SparkListenerTaskEnd): Unit = Tasks.stages.remove(end.taskInfo.taskId)
}

object Tasks {
  private val stages = new ConcurrentHashMap[Long, Int]

  def of(some: Set[Int]): Iterable[Long] = stages.asScala.collect { case (task, stage) if some(stage) => task }
}

/** Hands on what Spark warns of, in a line without the stack below it. */
private class Teller(tell: String => Unit)
    extends AbstractAppender("notebook", null, null, true, Property.EMPTY_ARRAY) {
  start()

  override def append(event: LogEvent): Unit =
    if (event.getLevel.isMoreSpecificThan(Level.WARN)) {
      val cause = Option(event.getThrown).map(error => s"\n${error.getMessage}").getOrElse("")
      tell(s"Spark ${event.getLevel}: ${event.getMessage.getFormattedMessage}$cause")
    }
}
