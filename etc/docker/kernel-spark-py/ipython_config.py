c = get_config()  # noqa: F821 - IPython gives it
c.InteractiveShellApp.extensions = ["lazy_spark"]
