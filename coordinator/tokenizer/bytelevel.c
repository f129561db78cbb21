/* GPT-2's mapping of bytes to visible characters (bytes_to_unicode in its encoder.py): printable Latin-1 stands for
 * itself, the other 68 bytes for U+0100, U+0101, ... in their order. */
#include "coordinator/tokenizer/normalize.h"

#define TWO(b)                                                                                                         \
    {                                                                                                                  \
        (char)(0xC0 | (b) >> 6), (char)(0x80 | ((b)&0x3F)), 0                                                          \
    }
#define SHIFTED(n) TWO(0x100 + (n))
#define SELF(b)                                                                                                        \
    {                                                                                                                  \
        (char)(b), 0, 0                                                                                                \
    }
#define SELF4(b)     SELF(b), SELF((b) + 1), SELF((b) + 2), SELF((b) + 3)
#define SELF16(b)    SELF4(b), SELF4((b) + 4), SELF4((b) + 8), SELF4((b) + 12)
#define TWO4(b)      TWO(b), TWO((b) + 1), TWO((b) + 2), TWO((b) + 3)
#define TWO16(b)     TWO4(b), TWO4((b) + 4), TWO4((b) + 8), TWO4((b) + 12)
#define SHIFTED4(n)  SHIFTED(n), SHIFTED((n) + 1), SHIFTED((n) + 2), SHIFTED((n) + 3)
#define SHIFTED16(n) SHIFTED4(n), SHIFTED4((n) + 4), SHIFTED4((n) + 8), SHIFTED4((n) + 12)

const char byte_level_text[256]
                          [3] = {
                              SHIFTED16(0),  SHIFTED16(16), /* 0x00 to 0x1F */
                              SHIFTED(32),   SELF(0x21),    SELF(0x22),   SELF(0x23),   SELF4(0x24), SELF4(0x28),
                              SELF4(0x2C), /* 0x20: the space, Ġ */
                              SELF16(0x30),  SELF16(0x40),  SELF16(0x50), SELF16(0x60), SELF4(0x70), SELF4(0x74),
                              SELF4(0x78),   SELF(0x7C),    SELF(0x7D),   SELF(0x7E),   SHIFTED(33), /* 0x7F */
                              SHIFTED16(34), SHIFTED16(50),                                          /* 0x80 to 0x9F */
                              SHIFTED(66),   TWO(0xA1),     TWO(0xA2),    TWO(0xA3),    TWO4(0xA4),  TWO4(0xA8),
                              TWO(0xAC),     SHIFTED(67),   TWO(0xAE),    TWO(0xAF),    TWO16(0xB0), TWO16(0xC0),
                              TWO16(0xD0),   TWO16(0xE0),   TWO16(0xF0),
};

int byte_level_byte(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD)) return (int)c;
    if (c < 0x100 || c > 0x143) return -1;
    int n = (int)c - 0x100;
    return n <= 32 ? n : n == 33 ? 0x7F : n <= 66 ? n - 34 + 0x80 : 0xAD;
}

void byte_level_append(struct buffer *out, const char *bytes_, size_t bytes)
{
    if (!buffer_reserve(out, bytes * 2)) return;
    char *to = out->data + out->bytes;
    for (size_t i = 0; i < bytes; i++) {
        const char *visible = byte_level_text[(unsigned char)bytes_[i]];
        *to++ = visible[0];
        if (visible[1]) *to++ = visible[1];
    }
    out->bytes = (size_t)(to - out->data);
}
