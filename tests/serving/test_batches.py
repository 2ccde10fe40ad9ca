import asyncio
import threading

import pytest

from rosenblatt.serving.batches import Batcher


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 30))


def test_requests_that_wait_at_the_same_time_are_one_batch_of_at_most_the_rows():
    batches, may_run, has_begun = [], threading.Event(), threading.Event()

    def answer(requests):
        batches.append(list(requests))
        has_begun.set()
        may_run.wait(20)
        return [request * 10 for request in requests]

    async def scenario():
        batcher = Batcher(answer, max_rows=6)
        tasks = [asyncio.create_task(batcher.submit(0, 1))]
        await asyncio.to_thread(has_begun.wait, 20)
        tasks += [asyncio.create_task(batcher.submit(k, 2)) for k in range(1, 6)]
        await asyncio.sleep(0)
        may_run.set()
        results = await asyncio.gather(*tasks)
        batcher.close()
        return results

    assert run(scenario()) == [0, 10, 20, 30, 40, 50]
    assert batches == [[0], [1, 2, 3], [4, 5]]


def test_a_batch_waits_for_a_request_that_is_being_received():
    batches = []

    async def scenario():
        batcher = Batcher(lambda requests: batches.append(len(requests)) or requests, max_rows=100)
        with batcher.receiving():
            first = asyncio.create_task(batcher.submit("a", 1))
            await asyncio.sleep(0)
            second = asyncio.create_task(batcher.submit("b", 1))
            await asyncio.sleep(0)
        await asyncio.gather(first, second)
        assert batcher.n_receiving == 0

    run(scenario())
    assert sum(batches) == 2


def test_an_error_of_one_request_is_its_own_and_one_of_all_ends_no_thread():
    def answer(requests):
        if requests == ["all"]:
            raise BaseException("a panic")  # noqa: TRY002
        return [ValueError(request) if request == "bad" else request for request in requests]

    async def scenario():
        batcher = Batcher(answer, max_rows=10)
        results = await asyncio.gather(*(batcher.submit(r, 1) for r in ("good", "bad")), return_exceptions=True)
        with pytest.raises(BaseException, match="a panic"):
            await batcher.submit("all", 1)
        return [*results, await batcher.submit("later", 1)]

    good, bad, later = run(scenario())
    assert (good, str(bad), later) == ("good", "bad", "later")


def test_a_request_that_was_given_up_is_not_answered():
    answered, may_run, has_begun = [], threading.Event(), threading.Event()

    def answer(requests):
        has_begun.set()
        may_run.wait(20)
        answered.extend(requests)
        return requests

    async def scenario():
        batcher = Batcher(answer, max_rows=1)
        first = asyncio.create_task(batcher.submit("first", 1))
        await asyncio.to_thread(has_begun.wait, 20)
        given_up = asyncio.create_task(batcher.submit("given up", 1))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        may_run.set()
        assert await first == "first"
        assert await batcher.submit("last", 1) == "last"

    run(scenario())
    assert answered == ["first", "last"]


def test_what_waits_is_answered_before_a_batcher_ends():
    async def scenario():
        batcher = Batcher(lambda requests: requests, max_rows=1)
        tasks = [asyncio.create_task(batcher.submit(k, 1)) for k in range(20)]
        await asyncio.sleep(0)
        batcher.close()
        results = await asyncio.gather(*tasks)
        await asyncio.to_thread(batcher._thread.join, 20)
        assert not batcher._thread.is_alive()
        return results

    assert run(scenario()) == list(range(20))


def test_a_request_that_was_received_when_its_batcher_closed_is_answered():
    async def scenario():
        batcher = Batcher(lambda requests: [ValueError("bad") if r == "bad" else r for r in requests], max_rows=1)
        with batcher.receiving():
            batcher.close()
            await asyncio.to_thread(batcher._thread.join, 20)
        with pytest.raises(ValueError, match="bad"):
            await batcher.submit("bad", 1)
        return await batcher.submit("good", 1)

    assert run(scenario()) == "good"
