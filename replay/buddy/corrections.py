"""What a snapshot in the middle of a trace puts right: frames that the events left in a wrong state.

No step: nobody saw it happen, so it counts neither as one nor as impossible. A frame that the model
holds free and the snapshot used has exited unseen, and the host notices now. A frame that turns out
to be free entered unseen; a unit that becomes wholly free by it has an unknown clock.
"""

import numba as nb
import numpy as np

from replay.buddy.bitmap import is_set, lowest, part_of, set_bit
from replay.buddy.memory import MEMORY, Memory, exit_now, last_exit_of
from replay.buddy.moves import begin_epoch, break_unit, emit, forget_types, is_unit, is_whole, touch
from replay.buddy.reduced import APPEAR, FOUND, NEVER_USED, NOT_SEEN, REDUCED
from replay.jit import Int, Records, Words, compiled

_BITS = nb.uint64[::1]


@compiled(nb.uint64(MEMORY, _BITS, nb.int64), inline=True)
def _news_of_used(m: Memory, used: Words, word: Int) -> Int:
    """The frames of a word that are in use, and the model holds free or has never seen."""
    return used[word] & (m.free[word] | ~m.exited[word])


@compiled(nb.uint64(MEMORY, _BITS, nb.int64), inline=True)
def _news_of_free(m: Memory, free: Words, word: Int) -> Int:
    """The frames of a word that are in the buddy, and the model does not hold free."""
    return free[word] & ~m.free[word]


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64), inline=True)
def _found_free(m: Memory, out: Records, frame: Int, zone: Int) -> None:
    """A frame that the model does not hold free is in the buddy."""
    t, before = m.totals[0], last_exit_of(m, frame)
    if before >= NOT_SEEN:
        t.managed += 1
    if before == NEVER_USED:
        emit(m, out, APPEAR, frame, 1, 0, -1, zone)
    if before == NOT_SEEN:
        exit_now(m, frame)
    else:
        t.corrected += 1
    set_bit(m.free, frame)


@compiled(nb.int64(MEMORY, REDUCED, nb.int64, nb.int64), inline=True)
def _found_used(m: Memory, out: Records, frame: Int, zone: Int) -> Int:
    """A frame is in use that the model holds free (1, and its unit is broken by the first one) or has
    never seen (0).
    """
    t = m.totals[0]
    if not is_set(m.free, frame):
        t.managed += 1
        exit_now(m, frame)
        return 0
    break_unit(m, out, frame, -1, zone)
    t.corrected += 1
    m.free[frame >> 6] ^= np.uint64(1) << np.uint64(frame & 63)
    touch(m, out, frame, frame + 1, zone)
    return 1


@compiled(nb.void(MEMORY, REDUCED, _BITS, _BITS, nb.int64, nb.int64, nb.int64), inline=True)
def _correct_unit(m: Memory, out: Records, used: Words, free: Words, zone: Int, first: Int, end: Int) -> None:
    """Frames [first, end) of one unit: those in use first, so that it is broken before it is found."""
    t, unit = m.totals[0], first >> m.shape[0]
    lost = found = 0
    for word in range(first >> 6, ((end - 1) >> 6) + 1):
        news = _news_of_used(m, used, word) & part_of(word, first, end)
        while news:
            lost += _found_used(m, out, (word << 6) + lowest(news), zone)
            news &= news - np.uint64(1)
    for word in range(first >> 6, ((end - 1) >> 6) + 1):
        news = _news_of_free(m, free, word) & part_of(word, first, end)
        while news:
            _found_free(m, out, (word << 6) + lowest(news), zone)
            found += 1
            news &= news - np.uint64(1)
    t.free += found - lost
    m.zone_free[zone] += found - lost
    if found and is_whole(m, unit) and is_unit(m, unit, zone):
        begin_epoch(m, unit)
        forget_types(m, unit << m.shape[0], np.int64(1) << m.shape[0])
        t.reportable += np.int64(1) << m.shape[0]
        emit(m, out, FOUND, unit << m.shape[0], m.shape[0], 0, -1, zone)


@compiled(nb.int64(MEMORY, REDUCED, _BITS, _BITS, nb.int64, nb.int64, nb.int64))
def correct(m: Memory, out: Records, used: Words, free: Words, zone: Int, first: Int, end: Int) -> Int:
    """Bring frames [first, end) of a zone to what a snapshot says of them, unit by unit; returns the
    first one not done (the output was full).

    `used`, `free`: bitmaps of the frames that it has in use, and in the buddy. The others, of which it
    does not know (absent, unknown), stay as they are. Most words have no news.
    """
    unit_order = m.shape[0]
    room = (np.int64(2) << unit_order) + 2
    while first < end and m.totals[0].events + room <= len(out):
        word = first >> 6
        news = (_news_of_used(m, used, word) | _news_of_free(m, free, word)) & part_of(word, first, end)
        if not news:
            first = (word + 1) << 6
            continue
        first = (word << 6) + lowest(news)
        until = min(end, ((first >> unit_order) + 1) << unit_order)
        _correct_unit(m, out, used, free, zone, first, until)
        first = until
    return min(first, end)
