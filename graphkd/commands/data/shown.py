"""What the actions of `graphkd data` show while they work: a progress bar and a console."""


class ProgressBar:
    """A progress bar on the terminal; nothing where output is not a terminal."""

    def __init__(self, text: str, total: int | None):
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc=text, unit="page", disable=None, leave=False)

    def __enter__(self):
        return self._bar.update

    def __exit__(self, *_):
        self._bar.close()


def console():
    from rich.console import Console

    return Console()
