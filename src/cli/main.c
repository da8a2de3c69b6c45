/* main.c - finds the subcommand and hands over. */
#include <stdio.h>

int main(void) {
    fputs("mistral: no subcommands yet\n", stderr);
    return 2;
}
