from benchmarks.report import Row


def scale(*, quick: bool) -> list[Row]:
    return []
