"""One life of the kernel, from its start over a few cells to its end; it ends when it has archived its classes."""

from jupyter_client.manager import start_new_kernel

DEADLINE = 900
"""Seconds that the start, a cell and the end may each take: a machine that builds images is busy."""

CELLS = (
    'println("hello world")',
    "val squares = (1 to 10).map(n => n * n)",
    'kernel.display.html(s"<b>${squares.sum}</b>")',
    'spark.range(10).selectExpr("sum(id)").collect()',
)

manager, client = start_new_kernel(DEADLINE, "scala")
try:
    for cell in CELLS:
        reply = client.execute_interactive(cell, timeout=DEADLINE)["content"]
        if reply["status"] != "ok":
            raise SystemExit(f"{cell}: {reply}")
    client.complete("squares.ma", reply=True, timeout=DEADLINE)
finally:
    manager.shutdown_wait_time = DEADLINE
    manager.shutdown_kernel()
