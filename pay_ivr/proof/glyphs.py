"""A 5×7 pixel alphabet, just enough to label a picture without a font library."""

import numpy as np
from numpy.typing import NDArray

_ROWS = {
    "A": "0E11111F111111", "B": "1E11111E11111E", "C": "0E11101010110E", "D": "1E11111111111E",
    "E": "1F10101E10101F", "F": "1F10101E101010", "G": "0E11101713110F", "H": "1111111F111111",
    "I": "0E04040404040E", "J": "0702020202120C", "K": "11121418141211", "L": "1010101010101F",
    "M": "111B1515111111", "N": "11191513111111", "O": "0E11111111110E", "P": "1E11111E101010",
    "Q": "0E11111115120D", "R": "1E11111E141211", "S": "0F10100E01011E", "T": "1F040404040404",
    "U": "1111111111110E", "V": "11111111110A04", "W": "11111115151B11", "X": "11110A040A1111",
    "Y": "11110A04040404", "Z": "1F01020408101F", "0": "0E11131519110E", "1": "040C040404040E",
    "2": "0E11010204081F", "3": "1F02040201110E", "4": "02060A121F0202", "5": "1F101E0101110E",
    "6": "0608101E11110E", "7": "1F010204080808", "8": "0E11110E11110E", "9": "0E11110F01020C",
    " ": "00000000000000", ":": "00040000000400", "-": "0000001F000000", ".": "00000000000C0C",
    ",": "000000000C0408", "(": "02040808080402", ")": "08040202020408", "/": "00010204081000",
    "+": "0004041F040400",
}  # fmt: skip
"""Seven hex bytes per glyph, five bits each, top row first."""
ADVANCE_PX = 6


def draw_text(canvas: NDArray[np.uint8], x: int, y: int, text: str, colour: tuple[int, int, int]) -> None:
    """Writes upper-case `text` with its top left corner at (x, y); what leaves the canvas is cut."""
    for number, char in enumerate(text.upper()):
        rows = bytes.fromhex(_ROWS.get(char, _ROWS[" "]))
        for row, bits in enumerate(rows):
            for column in range(5):
                at_x, at_y = x + number * ADVANCE_PX + column, y + row
                if bits >> (4 - column) & 1 and at_y < canvas.shape[0] and at_x < canvas.shape[1]:
                    canvas[at_y, at_x] = colour
