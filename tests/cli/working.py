"""`tito worker` at work: events, signals, ends, reloads. Each function is a test; those in ON_CLUSTER run there too."""

import json
import os
import random
import signal
import socket
import time
import urllib.request

import apps
from support import WAIT, check, equal, times, until

QUICK_LEASE = ("--lease", "2")


# ---- Work

def handles_what_is_due_once(place):
    total = times(2000, 40)
    place.write("app.lua", apps.PLAIN)
    place.publish(total)
    place.lua("assert(queue:publish { key = 'later', payload = 1, delay = 3600 })")
    worker = place.worker("--once", "--threads", "3").ready().ends(0)
    check("no event is due" in worker.text(), worker.text())
    check("types=job\n" in worker.text(), worker.text())
    equal(1, place.count("pending"), "events of a later time")
    place.lua("assert(queue:purge { state = 'pending' })")
    place.check_exactly_once(total)


def waits_for_retries_that_are_due(place):
    place.write("app.lua", apps.HEAD + """
      local failed = {}
      return function(worker)
        worker:on("job", function(event, tx)
          if event.attempts < 2 then error("attempt " .. event.attempts) end
          handle(event, tx)
        end, { retry = { base = 0.001, factor = 1, cap = 0.001, jitter = 0 } })
      end""")
    place.publish(10, keys=10)
    worker = place.worker("--threads", "2").ready()
    until("every event was handled", lambda: worker.text().count("attempt 1") >= 10)
    worker.send(signal.SIGTERM).ends(0)
    place.worker("--once").ends(0)
    place.check_exactly_once(10)


def workers_share_the_work(place):
    total = times(600, 40)
    place.write("app.lua", apps.PLAIN)
    workers = [place.worker("--threads", "2", *QUICK_LEASE).ready() for _ in range(3)]
    place.publish(total)
    until("half of it", lambda: len(place.lines("log")) >= total // 2)
    workers[0].send(signal.SIGKILL)
    until("all of it", lambda: len(set(place.lines("log"))) >= total)
    for worker in workers[1:]:
        worker.send(signal.SIGTERM).ends(0)
    place.worker("--once", *QUICK_LEASE).ends(0)
    place.check_exactly_once(total)


def a_handler_ends_it(place):
    place.write("app.lua", "return function(w) w:on('job', function() w:stop() end) end")
    place.publish(1)
    place.worker("--threads", "2").ends(0)


def options_reach_the_worker(place):
    place.write("app.lua", "return function(w) w:on('job', function() error('never') end) end")
    place.publish(3)
    place.worker("--once", "--max-retries", "0", "--concurrency", "5", "--threads", "2", "--handler-timeout", "9.5",
                 "--lease", "5", "--drain-timeout", "7").says("concurrency=6 ")
    until("three failed events", lambda: place.processes[-1].process.poll() == 0)
    equal(3, place.count("failed"))


def works_on_a_range_of_partitions(place):
    place.write("app.lua", apps.PLAIN)
    place.publish(times(100, 40))
    place.worker("--partitions", "0-16").ready()
    until("all of it", lambda: len(place.lines("log")) >= times(100, 40))
    place.processes[-1].send(signal.SIGTERM).ends(0)
    place.check_exactly_once(times(100, 40))


def works_while_it_leads(place):
    place.write("app.lua", apps.PLAIN)
    place.publish(times(100, 40))
    file = place.path("leader")
    worker = place.worker("--leader-file", file).ready()
    time.sleep(1.2)
    equal([], place.lines("log"))
    place.write("leader", "")
    until("all of it", lambda: len(place.lines("log")) >= times(100, 40))
    os.unlink(file)
    worker.says("rests: ")
    worker.send(signal.SIGTERM).ends(0)
    place.check_exactly_once(times(100, 40))
    place.worker("--leader-file", file, "--once").ends(2)


def a_handler_that_takes_too_long_fails(place):
    place.write("app.lua", apps.ENDLESS)
    place.publish(1)
    worker = place.worker("--handler-timeout", "0.2", "--max-retries", "0").ready()
    worker.says("handler_timeout")
    worker.send(signal.SIGTERM).ends(0)
    equal(1, place.count("failed"))


# ---- Signals

def drains(place):
    place.write("app.lua", apps.SLOW)
    place.publish(40, keys=8)
    for number in (signal.SIGTERM, signal.SIGINT):
        began = len(place.lines("began"))
        worker = place.worker("--threads", "2", "--concurrency", "4").ready()
        until("events in hand", lambda: len(place.lines("began")) > began)
        worker.send(number).ends(0)
        equal(len(place.lines("began")), len(place.lines("log")), "what had begun")
        check("draining" in worker.text(), worker.text())
        check("event failed" not in worker.text(), worker.text())
    handled = len(place.lines("log"))
    equal(40 - handled, place.count("pending"), "events left")
    place.write("app.lua", apps.PLAIN)
    place.worker("--once").ends(0)
    place.check_exactly_once(40)


def drains_under_overload(place):
    """Ten times and more of what it can handle waits, and more comes."""
    total = times(3000, 200)
    place.write("app.lua", apps.SLOW)
    place.publish(total, keys=200)
    worker = place.worker("--threads", "2", "--concurrency", "20", "--drain-timeout", "20").ready()
    until("work", lambda: len(place.lines("log")) >= 20)
    worker.send(signal.SIGTERM)
    if place.cluster:
        place.publish(20, keys=200, first=total + 1)
        total += 20
    worker.ends(0)
    check(len(place.lines("log")) < total, "nothing was left: the test shows nothing")
    place.write("app.lua", apps.PLAIN)
    place.finish()
    place.check_exactly_once(total)


def drains_whenever_the_signal_comes(place):
    total = times(600, 100)
    chance = random.Random()
    place.write("app.lua", apps.SLOW)
    place.publish(total, keys=100)
    for _ in range(times(10, 4)):
        worker = place.worker("--threads", "2", "--concurrency", "16", *QUICK_LEASE)
        until("it works", lambda: "ready: " in worker.text() or worker.process.poll() is not None)
        began, more = len(place.lines("began")), chance.choice((0, 1, 5, 20))
        until("events in hand", lambda: len(place.lines("began")) >= min(began + more, total))
        worker.send(signal.SIGTERM).ends(0)
    place.write("app.lua", apps.PLAIN)
    place.finish(*QUICK_LEASE)
    place.check_exactly_once(total)


def ends_though_the_store_is_silent(place):
    """On a mock cluster alone: every store takes requests and does not answer."""
    total = times(300, 50)
    place.write("app.lua", apps.SLOW)
    place.publish(total, keys=50)
    worker = place.worker("--threads", "2", "--concurrency", "8", "--drain-timeout", "1", *QUICK_LEASE).ready()
    until("work", lambda: len(place.lines("log")) >= 10)
    stores = json.loads(_control("/state"))["stores"]
    for store in stores:
        _control("/store/freeze?id=" + store)
    try:
        worker.send(signal.SIGTERM)
        until("the end", lambda: worker.process.poll() is not None)
        check(worker.process.returncode in (0, 3), "exit code %s" % worker.process.returncode)
    finally:
        for store in stores:
            _control("/store/thaw?id=" + store)
    place.write("app.lua", apps.PLAIN)
    place.finish(*QUICK_LEASE)
    place.check_exactly_once(total)


def _control(path):
    with urllib.request.urlopen("http://" + os.environ["TITO_TEST_CONTROL"] + path, timeout=WAIT) as answer:
        return answer.read().decode()


def gives_up_when_the_time_to_drain_has_passed(place):
    place.write("app.lua", apps.ENDLESS)
    place.publish(1)
    worker = place.worker("--drain-timeout", "0.3").ready()
    until("the handler", lambda: place.lines("began"))
    worker.send(signal.SIGTERM).ends(3)
    check("the time to drain has passed" in worker.text(), worker.text())
    place.write("app.lua", apps.PLAIN)
    place.finish()
    place.check_exactly_once(1)


def ends_though_a_handler_is_stuck(place):
    os.mkfifo(place.path("fifo"))
    place.write("app.lua", apps.STUCK)
    place.publish(1)
    worker = place.worker("--drain-timeout", "0.3").ready()
    until("the handler", lambda: place.lines("began"))
    worker.send(signal.SIGTERM).ends(3)
    check("does not end" in worker.text(), worker.text())


def a_second_signal_ends_at_once(place):
    os.mkfifo(place.path("fifo"))
    place.write("app.lua", apps.STUCK)
    place.publish(1)
    worker = place.worker("--drain-timeout", "3000").ready()
    until("the handler", lambda: place.lines("began"))
    worker.send(signal.SIGTERM).says("draining")
    worker.send(signal.SIGINT).ends(4)


def nothing_is_lost_by_sigkill(place):
    total = times(1500, 100)
    place.write("app.lua", apps.PLAIN)
    place.publish(total)
    for _ in range(3):
        worker = place.worker("--threads", "2", *QUICK_LEASE).ready()
        done = len(place.lines("log"))
        until("some work", lambda: len(place.lines("log")) >= min(done + total // 10, total))
        worker.send(signal.SIGKILL).ends(-signal.SIGKILL)
    place.finish(*QUICK_LEASE)
    place.check_exactly_once(total)


def a_signal_while_it_loads(place):
    place.write("app.lua", "print('loading') while true do end")
    worker = place.worker("--threads", "2")
    until("the app", lambda: worker.stdout().count("loading") == 2)
    worker.send(signal.SIGTERM).ends(0)


def a_signal_while_it_connects(place):
    place.write("app.lua", apps.PLAIN)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        worker = place.start("worker", place.path("app.lua"), "--db", "tikv://127.0.0.1:%d" % port)
        mute.settimeout(60)
        mute.accept()
        worker.send(signal.SIGTERM).ends(0)


def ends_though_nobody_reads_its_log(place):
    place.write("app.lua", "local text = ('x'):rep(3000) return function(w) w:on('job', function(e) error(text) end,"
                " { retry = { base = 0.001, factor = 1, cap = 0.001, max_retries = 100000 } }) end")
    place.publish(100, keys=100)
    worker = place.worker("--drain-timeout", "0.5", unread=True)
    until("a full pipe", lambda: worker.waiting() >= 45000)
    worker.send(signal.SIGTERM).ends(3)


def programs_of_handlers_begin_as_usual(place):
    place.write("app.lua", """return function(w) w:on("job", function()
      local p = io.popen("bash -c 'yes | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}; kill -TERM $$; echo alive'; echo ended")
      print((p:read("a"):gsub("\\n", " ")))
      p:close()
    end) end""")
    place.publish(1)
    equal("141 ended \n", place.worker("--once").ends(0).stdout())


# ---- Reloads

def _ticks(place, text, since):
    return lambda: place.lines("log")[since:].count(text) >= 3


def _begin_ticking(place, *arguments):
    place.write("app.lua", apps.TICKING % "one")
    place.lua(apps.TICK)
    worker = place.worker("--threads", "2", *arguments).ready()
    until("the first app", _ticks(place, "one", 0))
    return worker


def reloads(place):
    worker = _begin_ticking(place)
    for generation, text in ((2, "two"), (3, "three")):
        place.write("app.lua", apps.TICKING % text)
        worker.send(signal.SIGHUP).ready(generation)
        since = len(place.lines("log"))
        until("the new app", _ticks(place, text, since))
        check(set(place.lines("log")[since:]) == {text}, "an old app went on")
    worker.send(signal.SIGTERM).ends(0)


def a_broken_app_is_not_taken(place):
    worker = _begin_ticking(place)
    broken = {  # and what is said of it
        "this is no Lua": "app.lua:1: syntax error",
        "error('it broke')": "app.lua:1: it broke",
        "return 5": "must return a function",
        "return function() end": "registers no handler",
        "return function(w) w:on('tick', 5) end": "the handler must be a function",
        "return function() error({}) end": "table: ",
        "return function(w) w:on('tick', print) if w.member == 2 then w:on('x', print) end end": "the same types",
    }
    for i, (text, why) in enumerate(broken.items()):
        place.write("app.lua", text)
        said = worker.send(signal.SIGHUP).says("the reload has failed, the handlers from before go on: (.*)", i + 1)
        check(why in said.group(1), said.group(0))
        until("the old app", _ticks(place, "one", len(place.lines("log"))))
    os.unlink(place.path("app.lua"))
    worker.send(signal.SIGHUP).says("the reload has failed", len(broken) + 1)
    place.write("app.lua", apps.TICKING % "two")
    worker.send(signal.SIGHUP).ready(2)
    until("the mended app", _ticks(place, "two", 0))
    worker.send(signal.SIGTERM).ends(0)


def other_types_after_a_reload(place):
    place.publish(20)
    worker = _begin_ticking(place)
    place.write("app.lua", apps.PLAIN)
    worker.send(signal.SIGHUP).ready(2)
    until("the other type", lambda: len([line for line in place.lines("log") if line.isdigit()]) >= 20)
    check("generation=2 types=job\n" in worker.text(), worker.text())
    worker.send(signal.SIGTERM).ends(0)
    place.check_exactly_once(20)


def many_reloads(place):
    worker = _begin_ticking(place)
    for i in range(30):
        place.write("app.lua", "error('not this one')" if i % 3 == 1 else apps.TICKING % "other")
        worker.send(signal.SIGHUP)
    place.write("app.lua", apps.TICKING % "last")
    worker.send(signal.SIGHUP)
    until("the last app", _ticks(place, "last", 0))
    worker.send(signal.SIGTERM).ends(0)


def no_event_is_lost_by_reloads(place):
    total = times(1000, 100)
    place.write("app.lua", apps.PLAIN)
    place.publish(total)
    worker = place.worker("--threads", "2").ready()
    for generation in range(2, 5):
        until("work", lambda: len(place.lines("log")) >= min(total, (generation - 1) * total // 5))
        worker.send(signal.SIGHUP).ready(generation)
    until("all of it", lambda: len(place.lines("log")) >= total)
    worker.send(signal.SIGTERM).ends(0)
    place.check_exactly_once(total)


def a_signal_while_it_reloads(place):
    worker = _begin_ticking(place)
    place.write("app.lua", "print('loading') while true do end")
    worker.send(signal.SIGHUP)
    until("the new app", lambda: worker.stdout().count("loading") == 2)
    until("the old app", _ticks(place, "one", len(place.lines("log"))))
    worker.send(signal.SIGTERM).ends(0)


def reloads_though_a_handler_is_stuck(place):
    os.mkfifo(place.path("fifo"))
    place.write("app.lua", apps.STUCK)
    place.publish(1)
    worker = place.worker("--drain-timeout", "0.3", "--threads", "2").ready()
    until("the handler", lambda: place.lines("began"))
    text = (apps.TICKING % "tick").replace(
        "return function(worker)",
        "assert(tito.db:queue { type = 'tick', partitions = 4 }:publish { key = 'tick' })\nreturn function(worker)")
    place.write("app.lua", text)
    worker.send(signal.SIGHUP).ready(2)
    until("the new app", _ticks(place, "tick", 0))
    check("is left alone" in worker.text(), worker.text())
    worker.send(signal.SIGTERM).ends(3)


ON_CLUSTER = [
    handles_what_is_due_once, workers_share_the_work, drains, drains_under_overload, drains_whenever_the_signal_comes,
    gives_up_when_the_time_to_drain_has_passed, a_second_signal_ends_at_once, nothing_is_lost_by_sigkill, reloads,
    a_broken_app_is_not_taken, no_event_is_lost_by_reloads,
]
ON_MOCK = [ends_though_the_store_is_silent]
TESTS = [
    handles_what_is_due_once, waits_for_retries_that_are_due, a_handler_ends_it, options_reach_the_worker,
    works_on_a_range_of_partitions, works_while_it_leads, a_handler_that_takes_too_long_fails, drains,
    drains_under_overload, drains_whenever_the_signal_comes,
    gives_up_when_the_time_to_drain_has_passed, ends_though_a_handler_is_stuck, a_second_signal_ends_at_once,
    ends_though_nobody_reads_its_log, programs_of_handlers_begin_as_usual, nothing_is_lost_by_sigkill,
    a_signal_while_it_loads, a_signal_while_it_connects, reloads, a_broken_app_is_not_taken,
    other_types_after_a_reload, many_reloads, no_event_is_lost_by_reloads, a_signal_while_it_reloads,
    reloads_though_a_handler_is_stuck,
]
