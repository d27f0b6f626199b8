"""An observer that keeps what a user is told."""

from orchestrator.observers.group import LoggingObserver


class Words(LoggingObserver):
    """Keeps the messages, in order."""

    def __init__(self):
        self.said = []

    def on_message(self, text):
        self.said.append(text)
