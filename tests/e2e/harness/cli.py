"""The postrider command as a person or a script uses it."""
import json
import os
import pwd
import subprocess

from .box import program, sanitizer_env


class Cli:
    def __init__(self, box):
        self.box = box

    def run(self, *words, config=True, timeout=60, env=None, **kw):
        # Before the words: they may hold a "--".
        argv = [program("postrider"), *(["-c", self.box.config_path] if config else []), *words]
        e = sanitizer_env(self.box.dir, "postrider")
        e.update(env or {})
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=e, cwd=self.box.dir,
                              stdin=subprocess.DEVNULL, **kw)

    def ok(self, *words, **kw):
        """Standard output of a command that must succeed."""
        r = self.run(*words, **kw)
        assert r.returncode == 0, f"postrider {' '.join(words)}: {r.returncode}\n{r.stdout[-1500:]}\n{r.stderr[-1500:]}"
        return r.stdout

    def json(self, *words, **kw):
        return json.loads(self.ok(*words, "-o", "json", **kw))

    def lines(self, *words, **kw):
        return [json.loads(line) for line in self.ok(*words, "-o", "jsonl", **kw).splitlines()]


def supervised(box, *options):
    """`postrider run` on the box's configuration, as a Popen; its log in postrider-run.log."""
    box.write_config()
    if os.geteuid() == 0:  # the daemons give root up: their user needs the folder
        os.chown(box.dir, pwd.getpwnam("nobody").pw_uid, -1)
        options += ("--user", "nobody")
    with open(os.path.join(box.dir, "postrider-run.log"), "ab") as out:
        return subprocess.Popen([program("postrider"), "run", *options, "-c", box.config_path], stdout=out, stderr=out,
                                stdin=subprocess.DEVNULL, env=sanitizer_env(box.dir, "run"), cwd=box.dir)
