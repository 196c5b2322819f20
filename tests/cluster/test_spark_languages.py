"""Spark kernels of other languages than Python, whose pod is the driver: the shipped deployment, specs and images.

The cluster must have the images `localhost/kernel-spark-r:dev` and `localhost/kernel-spark-scala:dev` as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.channels import Channels, Execution
from support.deployed import Deployed, deployment
from support.rest import answer_of
from support.spark import SMALL, SPARK_SECONDS, executors, left_of, start
from support.wait import eventually

pytestmark = pytest.mark.cluster

INTERRUPTS = 5


@dataclass(frozen=True)
class Language:
    """Cells that say the same in each language; each that prints ends with a line feed."""

    spec: str
    hello: str
    """Prints `hello world`, and names no Spark."""
    about: str
    """Prints the master, the application's id and the deploy mode."""
    executors: str
    """Waits until Spark knows two executors, and prints `two`."""
    shuffle: str
    """Prints 499500, which executors have found."""
    function: str
    """Prints 30, which functions have found that executors run: the sum of 1 to 4, each with 5 more."""
    define: str
    """Sets kept to 21."""
    use: str
    """Prints kept * 2."""
    endless: str
    """Has two tasks that say `a task runs` where they run, and never end."""
    idle: str
    """Waits until no job runs, and prints `none`."""
    forever: str
    """Prints `running`, and never ends, without Spark."""


R = Language(
    spec="spark_R_kubernetes",
    hello=r'cat("hello world\n")',
    about=r'cat(sc$master, sc$applicationId, sc$getConf()$get("spark.submit.deployMode"), "\n")',
    executors="""
for (i in 1:600) if (length(sc$`_jsc`$sc()$statusTracker()$getExecutorInfos()) == 3) break else Sys.sleep(0.1)
cat("two\\n")
""",
    shuffle='cat(spark$range(0, 1000, 1, 4L)$repartition(4L)$selectExpr("sum(id) as s")$toPandas()$s, "\\n")',
    function='cat(sc$parallelize(1:4, 4L)$map(reticulate::py_eval("lambda n: n + 5"))$sum(), "\\n")',
    define="kept <- 21",
    use=r'cat(kept * 2, "\n")',
    endless="""
sleep <- "lambda _: (print('a task runs', file=__import__('sys').stderr, flush=True), __import__('time').sleep(600))"
sc$parallelize(1:2, 2L)$map(reticulate::py_eval(sleep))$count()
""",
    idle=r'while (length(sc$statusTracker()$getActiveJobsIds()) > 0) Sys.sleep(0.1); cat("none\n")',
    forever=r'cat("running\n"); repeat Sys.sleep(0.1)',
)
SCALA = Language(
    spec="spark_scala_kubernetes",
    hello='println("hello world")',
    about='println(s"${sc.master} ${sc.applicationId} ${sc.deployMode}")',
    executors='while (sc.statusTracker.getExecutorInfos.length < 3) Thread.sleep(100); println("two")',
    shuffle='println(spark.range(0, 1000, 1, 4).repartition(4).selectExpr("sum(id)").first.getLong(0))',
    function="val five = 5; println(sc.parallelize(1 to 4, 4).map(n => n + five).sum.toInt)",
    define="val kept = 21",
    use="println(kept * 2)",
    endless='sc.parallelize(1 to 2, 2).map { n => System.err.println("a task runs"); Thread.sleep(600000); n }.count',
    idle='while (sc.statusTracker.getActiveJobIds.nonEmpty) Thread.sleep(100); println("none")',
    forever='println("running"); Thread.sleep(600000)',
)

WAITING = "Waiting for a Spark session to start..."
"""What Toree prints in front of a cell's own words while Spark starts."""


@pytest.fixture(scope="module")
def spark(cluster: str) -> Iterator[Deployed]:  # noqa: ARG001 - there must be one
    """A deployment of this module's own, with what Spark needs."""
    with deployment(Path(__file__).parent / "spark") as deployed:
        yield deployed


@dataclass(frozen=True)
class Kernel:
    """A kernel that is a driver."""

    spark: Deployed
    kernel_id: str
    language: Language

    def prints(self, code: str) -> str:
        """The first line that a cell prints on stdout; Toree may send it in pieces, and behind the cell's end."""
        with Channels.of(self.spark, self.kernel_id, deadline=SPARK_SECONDS) as channels:
            execution = channels.recv_execution(request := channels.send_code(code))
            assert execution.reply["status"] == "ok", execution.reply
            while not (printed := stdout_of(execution).removeprefix(WAITING).lstrip()).endswith("\n"):
                message = channels.recv()
                if message["parent_header"].get("msg_id") == request:
                    execution.messages.append(message)
        return printed.splitlines()[0].strip()

    def runs(self, code: str) -> str:
        """A cell's status."""
        with Channels.of(self.spark, self.kernel_id, deadline=SPARK_SECONDS) as channels:
            return str(channels.execute(code).reply["status"])

    def interrupt(self) -> None:
        assert self.spark.rest.post(f"/api/kernels/{self.kernel_id}/interrupt").status_code == 204

    def tasks(self) -> int:
        """How many endless tasks its executors have begun so far."""
        workers = [pod["metadata"]["name"] for pod in executors(self.spark, self.kernel_id)]
        return sum(self.spark.namespace.logs(name).count("a task runs") for name in workers)


@pytest.fixture(scope="module", params=[R, SCALA], ids=lambda language: language.spec)
def kernel(spark: Deployed, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A Spark kernel of each language, which tests share: each leaves it idle, with its session."""
    kernel_id = start(spark, request.param.spec)
    yield Kernel(spark, kernel_id, request.param)
    spark.rest.delete(f"/api/kernels/{kernel_id}")


class TestSession:
    """A notebook's session, from its first name to its end."""

    def test_a_notebook_that_names_no_spark_has_no_executors(self, kernel: Kernel) -> None:
        assert kernel.prints(kernel.language.hello) == "hello world"
        assert executors(kernel.spark, kernel.kernel_id) == []

    def test_an_interrupt_starts_no_spark(self, kernel: Kernel) -> None:
        kernel.runs(kernel.language.define)
        with Channels.of(kernel.spark, kernel.kernel_id, deadline=SPARK_SECONDS) as channels:
            request = channels.send_code(kernel.language.forever)
            channels.recv_until(lambda message: "running" in message["content"].get("text", ""))
            kernel.interrupt()
            assert channels.recv_execution(request).reply["status"] != "ok"
        assert kernel.prints(kernel.language.use) == "42"
        assert executors(kernel.spark, kernel.kernel_id) == []

    def test_the_first_cell_that_names_spark_gets_a_result_from_executors(self, kernel: Kernel) -> None:
        assert kernel.prints(kernel.language.shuffle) == "499500"
        assert kernel.prints(kernel.language.executors) == "two"
        master, application, mode = kernel.prints(kernel.language.about).split()
        assert master == "k8s://https://kubernetes.default.svc"
        assert application.startswith("spark-")
        assert mode == "client"

    def test_executors_run_functions_of_the_notebook(self, kernel: Kernel) -> None:
        assert kernel.prints(kernel.language.function) == "30"

    def test_executors_are_labelled_and_belong_to_the_drivers_pod(self, kernel: Kernel) -> None:
        assert kernel.prints(kernel.language.executors) == "two"
        driver = kernel.spark.namespace.kernel_pod(kernel.kernel_id)["metadata"]
        workers = [pod["metadata"] for pod in executors(kernel.spark, kernel.kernel_id)]
        assert len(workers) == 2
        for worker in workers:
            assert worker["labels"]["app"] == "enterprise-gateway"
            assert [owner["uid"] for owner in worker["ownerReferences"]] == [driver["uid"]]

    def test_an_interrupt_cancels_the_cells_jobs_and_keeps_the_session_every_time(self, kernel: Kernel) -> None:
        kernel.runs(kernel.language.define)
        before = kernel.prints(kernel.language.about)
        for _ in range(INTERRUPTS):
            assert kernel.prints(kernel.language.executors) == "two"
            earlier = kernel.tasks()
            with Channels.of(kernel.spark, kernel.kernel_id, deadline=SPARK_SECONDS) as channels:
                request = channels.send_code(kernel.language.endless)
                eventually(lambda earlier=earlier: kernel.tasks() == earlier + 2, SPARK_SECONDS)
                kernel.interrupt()
                assert channels.recv_execution(request).reply["status"] != "ok"
            assert kernel.prints(kernel.language.idle) == "none"
        assert kernel.prints(kernel.language.use) == "42"
        assert kernel.prints(kernel.language.about) == before
        assert kernel.prints(kernel.language.shuffle) == "499500"

    def test_a_restart_begins_another_application_in_the_same_pod(self, kernel: Kernel) -> None:
        kernel.runs(kernel.language.define)
        before = kernel.prints(kernel.language.about)
        uid = kernel.spark.namespace.kernel_pod(kernel.kernel_id)["metadata"]["uid"]
        answer_of(kernel.spark.rest.post(f"/api/kernels/{kernel.kernel_id}/restart"))
        assert kernel.runs(kernel.language.use) == "error"
        assert kernel.prints(kernel.language.shuffle) == "499500"
        assert kernel.prints(kernel.language.about) != before
        assert kernel.spark.namespace.kernel_pod(kernel.kernel_id)["metadata"]["uid"] == uid

    def test_a_deleted_kernel_leaves_nothing(self, kernel: Kernel) -> None:
        assert left_of(kernel.spark, kernel.kernel_id)
        kernel.spark.rest.shut_down(kernel.kernel_id)
        eventually(lambda: left_of(kernel.spark, kernel.kernel_id) == set(), SPARK_SECONDS)


def stdout_of(execution: Execution) -> str:
    """What has come of it so far."""
    return "".join(m["content"]["text"] for m in execution.of("stream") if m["content"]["name"] == "stdout")


LANGUAGES = pytest.mark.parametrize("language", [R, SCALA], ids=lambda language: language.spec)


@LANGUAGES
def test_an_idle_notebook_gives_its_executors_back(spark: Deployed, language: Language) -> None:
    options = f"{SMALL} --num-executors 1 --conf spark.dynamicAllocation.maxExecutors=1"
    for timeout in ("executorIdleTimeout", "shuffleTracking.timeout"):
        options += f" --conf spark.dynamicAllocation.{timeout}=5s"
    kernel = Kernel(spark, start(spark, language.spec, options), language)
    assert kernel.prints(language.shuffle) == "499500"
    eventually(lambda: executors(spark, kernel.kernel_id) == [], SPARK_SECONDS)
    assert kernel.prints(language.shuffle) == "499500"
    spark.rest.shut_down(kernel.kernel_id)


@LANGUAGES
def test_an_image_that_cannot_be_pulled_is_named_in_the_cell_that_waits(spark: Deployed, language: Language) -> None:
    image = "--conf spark.kubernetes.executor.container.image=localhost/missing:1"
    kernel_id = start(spark, language.spec, f"{SMALL} {image}")
    assert_told(Kernel(spark, kernel_id, language), "ErrImagePull", "localhost/missing:1")


@LANGUAGES
def test_a_quota_is_named_in_the_cell_that_waits(spark: Deployed, language: Language) -> None:
    kernel_id = start(spark, language.spec)
    full = len(spark.replicas()) + 1
    # What other tests have deleted would make room on its way out.
    eventually(lambda: len(spark.namespace.list("pods")) == full, SPARK_SECONDS)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    spark.namespace.apply({**quota, "spec": {"hard": {"pods": str(full)}}})
    try:
        assert_told(Kernel(spark, kernel_id, language), "exceeded quota: few")
    finally:
        spark.namespace.kubectl("delete", "resourcequota", "few")


def assert_told(kernel: Kernel, *words: str) -> None:
    """A job says these words on stderr while it waits, and can be interrupted; what was defined stays."""
    assert kernel.runs(kernel.language.define) == "ok"
    with Channels.of(kernel.spark, kernel.kernel_id, deadline=SPARK_SECONDS) as channels:
        request = channels.send_code(kernel.language.shuffle)
        said = ""
        while not all(word in said for word in words):
            said += channels.recv()["content"].get("text", "")
        kernel.interrupt()
        assert channels.recv_execution(request).reply["status"] != "ok"
    assert kernel.prints(kernel.language.use) == "42"
    kernel.spark.rest.shut_down(kernel.kernel_id)


def test_data_frames_of_r_keep_missing_values_and_dates_on_their_way_through_spark(spark: Deployed) -> None:
    kernel = Kernel(spark, start(spark, R.spec), R)
    frame = (
        "day <- as.Date('2020-02-29'); there <- data.frame(n = c(1L, NA), s = c(NA, 'a'), b = c(NA, FALSE), "
        "f = factor(c('u', NA)), x = c(NA, 0.5), d = c(day, NA)); back <- spark$createDataFrame(there)$toPandas()"
    )
    assert kernel.runs(frame) == "ok"
    same = "cat(all(is.na(back) == is.na(there)), back$n[1] == 1, back$s[2], back$b[2], back$x[2], back$f[1], "
    assert kernel.prints(same + r'format(back$d[1]), "\n")') == "TRUE TRUE a FALSE 0.5 u 2020-02-29"
    spark.rest.shut_down(kernel.kernel_id)
