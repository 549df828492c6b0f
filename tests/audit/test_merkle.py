"""The tree gives the roots and proofs of RFC 6962."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.merkle import (
    Node,
    Tree,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    node_hash,
    root_of_inclusion,
)

# The inputs and roots that the certificate-transparency project tests its own tree with.
INPUTS = [
    "", "00", "10", "2021", "3031", "40414243",
    "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def recursive(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 Section 2.1 writes it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + recursive(leaves[:half]) + recursive(leaves[half:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_are_reached(size: int) -> None:
    tree = Tree()
    for data in INPUTS[:size]:
        tree.append(leaf_hash(bytes.fromhex(data)))
    assert tree.root().hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=3), max_size=70))
def test_each_size_gives_the_root_of_the_recursive_definition(leaves: list[bytes]) -> None:
    tree = Tree()
    for size, leaf in enumerate(leaves, 1):
        tree.append(leaf_hash(leaf))
        assert (tree.size, tree.root()) == (size, recursive(leaves[:size]))


def test_a_leaf_is_never_a_node() -> None:
    assert leaf_hash(b"a" * 64) != node_hash(b"a" * 32, b"a" * 32)


def node_of(leaves: list[bytes]) -> Node:
    """Perfect subtrees, by the recursive definition."""
    return lambda height, number: recursive(leaves[number << height : (number + 1) << height])


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [  # from the certificate-transparency project's own tests
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            3,
            ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            1,
            5,
            [
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_the_published_inclusion_proofs_are_made(index: int, size: int, path: list[str]) -> None:
    leaves = [bytes.fromhex(data) for data in INPUTS]
    made = inclusion_proof(index, size, node_of(leaves))
    assert [step.hex() for step in made] == path


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_the_published_consistency_proofs_are_made(old: int, new: int, path: list[str]) -> None:
    leaves = [bytes.fromhex(data) for data in INPUTS]
    assert [step.hex() for step in consistency_proof(old, new, node_of(leaves))] == path


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.data())
def test_each_leaf_is_proven_and_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(size)]
    node, root = node_of(leaves), recursive(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, node)
    leaf = leaf_hash(leaves[index])
    assert root_of_inclusion(leaf, index, size, path) == root
    for other in range(-1, size + 2):
        if other != index:
            assert root_of_inclusion(leaf, other, size, path) != root
    assert root_of_inclusion(leaf, index, size, [*path, leaf]) != root
    for step in range(len(path)):
        changed = [*path[:step], leaf_hash(b"x"), *path[step + 1 :]]
        assert root_of_inclusion(leaf, index, size, changed) != root
        assert root_of_inclusion(leaf, index, size, [*path[:step], *path[step + 1 :]]) != root


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.data())
def test_each_earlier_tree_is_consistent_and_no_other(new: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(new)]
    old = data.draw(st.integers(0, new))
    roots = recursive(leaves[:old]), recursive(leaves)
    path = consistency_proof(old, new, node_of(leaves))
    assert is_consistent(old, roots[0], new, roots[1], path)
    stranger = leaf_hash(b"x")
    assert not is_consistent(old, stranger, new, roots[1], path)
    if old:
        assert not is_consistent(old, roots[0], new, stranger, path)
    assert not is_consistent(old, roots[0], new, roots[1], [*path, stranger])
    assert not is_consistent(new + 1, roots[0], new, roots[1], path)
    for step in range(len(path)):
        changed = [*path[:step], stranger, *path[step + 1 :]]
        assert not is_consistent(old, roots[0], new, roots[1], changed)
        assert not is_consistent(old, roots[0], new, roots[1], path[:step])
