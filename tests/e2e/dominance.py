"""Dominators as a second opinion: the simple algorithm of Cooper, Harvey and Kennedy, apart from any of pygc's code."""


def immediate_dominators(edges):
    """edges: successors of each node; node 0 is the root. Gives the immediate dominator of each node (None: not reached; of the root itself), and the reached ones in postorder."""
    order, seen, stack = [], [False] * len(edges), [(0, iter(edges[0]))]
    seen[0] = True
    while stack:
        n, rest = stack[-1]
        for to in rest:
            if not seen[to]:
                seen[to] = True
                stack.append((to, iter(edges[to])))
                break
        else:
            order.append(n)
            stack.pop()
    number = [0] * len(edges)
    for i, n in enumerate(order):
        number[n] = i
    before = [[] for _ in edges]
    for n in order:
        for to in edges[n]:
            before[to].append(n)
    above, changed = [None] * len(edges), True
    above[0] = 0
    while changed:
        changed = False
        for n in reversed(order[:-1]):
            best = None
            for p in before[n]:
                if above[p] is not None:
                    a, b = p, best
                    while b is not None and a != b:
                        while number[a] < number[b]:
                            a = above[a]
                        while number[b] < number[a]:
                            b = above[b]
                    best = a
            if above[n] != best:
                above[n], changed = best, True
    return above, order


def retained(amounts, above, order):
    """The sum of `amounts` over what each node dominates, itself included."""
    kept = list(amounts)
    for n in order[:-1]:
        kept[above[n]] += kept[n]
    return kept
