"""Pours a stream of blocks into columns: breaks paragraphs, keeps headings with their text; makes
no blocks itself.
"""

from collections import deque
from collections.abc import Callable

from graphkd.synthesis.blocks import Block, TextBlock
from graphkd.synthesis.regions import Box
from graphkd.synthesis.sheet import Sheet

Source = Callable[[float, float], list[Block]]
"""A function of (column width, room left) that yields the next blocks, or an empty list at the
end."""


def pour(sheet: Sheet, columns: list[Box], source: Source) -> None:
    """Fill the columns one after the other until they are full or the source runs dry.

    A block that does not fit and cannot be broken waits for the next column, while the text behind
    it moves
    up (as figures float). What is left after the last column is dropped.
    """
    queue: deque[Block] = deque()
    waiting: deque[Block] = deque()
    for column in columns:
        sheet.column += 1
        x0, top, x1, bottom = column
        y = top
        queue.extendleft(reversed(waiting))
        waiting.clear()
        failures, below = 0, 0.0
        while failures < 4:
            if not queue:
                queue.extend(source(x1 - x0, bottom - y))
                if not queue:
                    return
            block = queue.popleft()
            gap = max(block.gap, below) if y > top else 0.0
            room = bottom - y - gap
            need = block.height
            if block.keep:
                if not queue:
                    queue.extend(source(x1 - x0, max(room - block.height, 0.0)))
                need += _least(queue[0]) if queue else 0.0
            if need <= room:
                block.draw(sheet, x0, y + gap)
                y += gap + block.height
                # Figures, tables, formulas and panels keep off the text below them too, ruled
                # headings a little.
                loose = not isinstance(block, TextBlock)
                below = (3.0 if block.keep else 0.8 * block.gap) if loose else 0.0
                continue
            parts = None if block.keep else block.split(room)
            if parts is not None:
                parts[0].draw(sheet, x0, y + gap)
                queue.appendleft(parts[1])
                break
            failures += 1
            if block.keep or isinstance(block, TextBlock):
                queue.appendleft(block)
                break
            waiting.append(block)
            if bottom - y < 30:
                break


def _least(block: Block) -> float:
    """Room the follower of a heading needs at least: all of it, or a few lines if it can be
    broken.
    """
    parts = block.split(80.0)
    return block.gap + (parts[0].height if parts else block.height)
