# What R finds in every session: `spark`, `sc` and `sql`, which start Spark when they are first read. What a notebook
# gives these names itself comes before them.
local({
  python <- function() reticulate::import("r_spark")
  one <- NULL
  session <- function() {
    if (is.null(one)) one <<- python()$Spark(function(line) suspendInterrupts(message(line)))
    one$session()
  }
  names <- attach(NULL, name = "spark", warn.conflicts = FALSE)
  makeActiveBinding("spark", session, names)
  makeActiveBinding("sc", function() session()$sparkContext, names)
  names$sql <- function(query) session()$sql(query)

  # Between data frames of R and of pandas, missing values and dates stay what they are: reticulate alone makes TRUE,
  # "NA" or the least integer of what is missing, and lists of what is not always there.
  improve <- function(generic, class, by) {
    space <- asNamespace("reticulate")
    method <- paste(generic, class, sep = ".")
    own <- get(method, space)
    improved <- function(x, ...) by(x, own, ...)
    unlockBinding(method, space)
    assign(method, improved, space)
    registerS3method(generic, class, improved, space)
  }
  dated <- function(x) inherits(x, "Date")
  to_python <- function(x, own, ...) {
    spoilt <- function(column)
      is.atomic(column) && anyNA(column) && !is.factor(column) && (dated(column) || !is.double(column))
    filled <- x
    columns <- names(x)[vapply(x, spoilt, NA)]
    for (name in columns)
      filled[is.na(x[[name]]), name] <- if (dated(x[[name]])) as.Date("1970-01-01") else vector(typeof(x[[name]]), 1)
    frame <- own(filled, ...)
    for (name in columns) python()$with_missing(frame, name, as.list(!is.na(x[[name]])))
    frame
  }
  plain <- function(column) {
    if (!is.list(column)) return(column)
    missing <- vapply(column, is.null, NA)
    some <- lapply(column[!missing], function(x)
      if (inherits(x, "python.builtin.object")) reticulate::py_to_r(x) else x)
    dates <- vapply(some, dated, NA)
    if (!all(lengths(some) == 1 & (dates | vapply(some, is.atomic, NA)))) return(column)
    values <- rep(NA, length(column))
    values[!missing] <- unlist(some)
    if (length(some) && all(dates)) as.Date(values, origin = "1970-01-01") else values
  }
  to_r <- function(x, own, ...) {
    frame <- own(x, ...)
    frame[] <- lapply(frame, plain)
    frame
  }
  setHook(packageEvent("reticulate", "onLoad"), function(...) {
    improve("r_to_py", "data.frame", to_python)
    improve("py_to_r", "pandas.core.frame.DataFrame", to_r)
  })
})
