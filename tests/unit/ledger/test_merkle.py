"""Merkle trees: the test vectors of Certificate Transparency, and what must hold of any tree."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrears.ledger.merkle import EMPTY, Tree, is_consistent, leaf_hash, node_hash, root_by_inclusion

# Leaves, roots and proofs of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test.cc).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
TREE = Tree([leaf_hash(leaf) for leaf in LEAVES])


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert Tree([]).root() == EMPTY
    assert EMPTY.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert TREE.root(size).hex() == ROOTS[size - 1]
    assert Tree([leaf_hash(leaf) for leaf in LEAVES[:size]]).root().hex() == ROOTS[size - 1]


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
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
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
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
def test_proofs_of_inclusion_are_those_of_the_reference(index: int, size: int, path: list[str]) -> None:
    proof = TREE.inclusion(index, size)

    assert [node.hex() for node in proof] == path
    assert root_by_inclusion(index, size, leaf_hash(LEAVES[index]), proof) == TREE.root(size)


@pytest.mark.parametrize(
    ("first", "second", "path"),
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
def test_proofs_of_consistency_are_those_of_the_reference(first: int, second: int, path: list[str]) -> None:
    proof = TREE.consistency(first, second)

    assert [node.hex() for node in proof] == path
    assert is_consistent(first, second, TREE.root(first), TREE.root(second), proof)


def plain_root(leaves: list[bytes]) -> bytes:
    """The definition in RFC 6962, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(plain_root(leaves[:k]), plain_root(leaves[k:]))


@given(st.integers(1, 70), st.data())
def test_every_proof_leads_to_the_root_and_no_other_leaf_does(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    tree = Tree(leaves)
    index = data.draw(st.integers(0, size - 1))
    earlier = data.draw(st.integers(1, size))
    proof = tree.inclusion(index)

    assert tree.root(earlier) == plain_root(leaves[:earlier])
    assert root_by_inclusion(index, size, leaves[index], proof) == tree.root()
    assert root_by_inclusion(index, size, leaf_hash(b"another"), proof) != tree.root()
    assert root_by_inclusion(index, size, leaves[index], [*proof, leaves[0]]) is None
    assert is_consistent(earlier, size, tree.root(earlier), tree.root(), tree.consistency(earlier))
    assert not is_consistent(earlier, size, leaf_hash(b"another"), tree.root(), tree.consistency(earlier))


def test_a_proof_for_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="leaf 8 of 8: the tree has 8 leaves"):
        TREE.inclusion(8)
