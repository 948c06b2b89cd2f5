/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KCSAN has a callback for each of the compiler's atomic builtins. On 8 and 16
 * bits gcc 12 has no code of its own for them on riscv and calls libatomic. The
 * kernel uses no such builtins, so nothing gets here.
 */
#ifndef __ASSEMBLY__
asm(".pushsection .text\n"
    ".irp size, 1, 2\n"
    "__atomic_exchange_\\size:\n"
    "__atomic_compare_exchange_\\size:\n"
    "__atomic_fetch_add_\\size:\n"
    "__atomic_fetch_sub_\\size:\n"
    "__atomic_fetch_and_\\size:\n"
    "__atomic_fetch_or_\\size:\n"
    "__atomic_fetch_xor_\\size:\n"
    "__atomic_fetch_nand_\\size:\n"
    ".endr\n"
    "ebreak\n"
    ".popsection\n");
#endif
