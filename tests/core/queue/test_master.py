"""What an answer about the master means, and whom to ask next."""

import pytest
from redis._parsers.base import BaseParser

from workqueue.core.queue.master import Address, ClusterMaster, Master, MasterUnknown, SentinelMaster

A, B, C = Address("a", 1), Address("b", 2), Address("c", 3)


def test_a_sentinel_names_the_master_of_its_service():
    master = SentinelMaster((A, B), "jobs")
    assert master.discovery_command == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "jobs")
    assert master.read([b"10.0.0.1", b"6379"], A) == Address("10.0.0.1", 6379)
    with pytest.raises(MasterUnknown, match="knows no service 'jobs'"):
        master.read(None, A)


def slots(*ranges):
    return [[begin, end, *[[host, port, b"id", []] for host, port in servers]] for begin, end, *servers in ranges]


def test_a_cluster_names_the_holder_of_the_slot_and_the_nodes_that_may_be_asked():
    master = ClusterMaster((A, B), 8000)
    answer = slots((0, 7999, (b"x", 1), (b"y", 1)), (8000, 16383, (b"z", 1), (b"w", 1)))
    assert master.read(answer, B) == Address("z", 1)
    assert master.nodes == [B, *(Address(host, 1) for host in "xyzw"), A], "the node that answered is asked first again"


def test_a_node_that_does_not_know_its_own_address_means_the_one_where_it_was_asked():
    for nameless in (b"", None):
        assert ClusterMaster((A,), 5).read(slots((0, 9, (nameless, 7000))), A) == Address("a", 7000)


@pytest.mark.parametrize("answer", [[], slots((0, 7, (b"x", 1))), slots((0, 99, (b"?", 1)))])
def test_a_slot_without_a_node_is_not_known(answer):
    with pytest.raises(MasterUnknown, match="slot 8"):
        ClusterMaster((A,), 8).read(answer, A)


def error(reply: str) -> Exception:
    return BaseParser.parse_error(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "READONLY You can't write against a read only replica.",
        "MOVED 3999 127.0.0.1:6381",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write",
    ],
)
def test_an_answer_of_no_master_ends_the_generation_once(reply):
    master = Master()
    master.refused(error(reply), at=A, generation=0, discovered_by=None)
    master.refused(error(reply), at=A, generation=0, discovered_by=None)  # another connection of the same generation
    assert master.generation == 1


@pytest.mark.parametrize(
    "reply", ["NOSCRIPT No matching script.", "OOM command not allowed", "ASK 3999 a:1", "WRONGTYPE"]
)
def test_other_errors_keep_the_connection(reply):
    master = Master()
    master.refused(error(reply), at=A, generation=0, discovered_by=None)
    assert master.generation == 0


def test_a_master_that_moved_makes_earlier_connections_old():
    master = SentinelMaster((A,), "jobs")
    generations = []
    for host in (b"x", b"x", b"y"):
        master.read([host, b"1"], A)
        generations.append(master.generation)
    assert generations[0] == generations[1] < generations[2]


def test_a_node_that_does_not_answer_or_misleads_is_asked_last_and_one_that_knows_better_first():
    master = SentinelMaster((A, B, C), "jobs")
    master.ask_last(A)
    assert master.nodes == [B, C, A]
    master.refused(error("READONLY You can't write"), at=Address("m", 1), generation=master.generation, discovered_by=B)
    assert master.nodes == [C, A, B]
    in_cluster = ClusterMaster((A, B), 1)
    in_cluster.refused(error("MOVED 1 x:1"), at=B, generation=0, discovered_by=A)
    assert in_cluster.nodes == [B, A]
