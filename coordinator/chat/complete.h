/* Tab in the line editor. */
#pragma once
#include <histedit.h>

/* A function of libedit's: fills in what is certain, shows what may be meant. */
unsigned char chat_complete(EditLine *edit, int key);
