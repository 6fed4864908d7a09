"""The objects of a run: which generations they have, and which of them a read is of."""

import threading
import urllib.parse
import urllib.request

from content import FIRST_GENERATION, Content, judge


class Objects:
    """The generations of each object that a read may be of."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self._contents = {}
        self._issued = threading.Condition()
        self._under_way = {}
        # The server is on this machine; proxies of the environment are ignored.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def overwrite(self, key):
        """Has the server write a new generation."""
        with self._issued:
            self._under_way[key] = self._under_way.get(key, 0) + 1
        try:
            url = f"{self._endpoint}/_sim/overwrite?key={urllib.parse.quote(key, safe='')}"
            with self._opener.open(urllib.request.Request(url, method="POST"), timeout=60) as answer:
                generation = int(answer.read())
            with self._issued:
                self._of(key).append(Content(key, generation))
        finally:
            with self._issued:
                self._under_way[key] -= 1
                self._issued.notify_all()

    def was_overwritten(self, key):
        with self._issued:
            return len(self._of(key)) > 1 or self._under_way.get(key, 0) > 0

    def judge(self, key, offset, data):
        """The number of the generation that `data` is of, or `None`; bytes that are wrong; whether it is a mixture."""
        known = self._known(key)
        # Most reads return the newest generation.
        which, wrong, explained = judge(known[::-1], offset, data)
        if which is None:
            # A read may return a generation before the answer to the overwrite arrives.
            with self._issued:
                self._issued.wait_for(lambda: self._under_way.get(key, 0) == 0)
            known = self._known(key)
            which, wrong, explained = judge(known[::-1], offset, data)
        return (None if which is None else len(known) - 1 - which), wrong, explained and which is None

    def _known(self, key):
        with self._issued:
            return list(self._of(key))

    def _of(self, key):
        if key not in self._contents:
            self._contents[key] = [Content(key, FIRST_GENERATION)]
        return self._contents[key]
