// SPDX-License-Identifier: GPL-2.0
/*
 * The ISA extension registers of a vCPU: KVM_REG_RISCV_ISA_EXT.
 *
 * What is expected comes from the specifications, as a table, and from the
 * firmware's description of the harts, not from KVM: which extensions there
 * are, which of them a vCPU can have, and which of those it can lose again.
 * isa_guest_test checks that the extensions work in a guest.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

/* Can a vCPU have it if the host has it; can it be taken from the vCPU? */
enum rule {
	YES,
	NO,
	/* Sscofpmf needs the interrupt filtering of Ssaia */
	IF_SSAIA,
	/* hstateen0 can hide Ssaia from the guest */
	IF_SMSTATEEN,
	/* The host gives its own processes vector registers */
	IF_HOST_V,
	/* Only for RV32, so never on the RV64 hosts of this test */
	RV32,
};

struct isa_ext {
	unsigned int id;	/* as documented, never to change */
	unsigned int uapi;	/* as in the header that this is built with */
	const char *name;
	enum rule enable;
	enum rule disable;
	const char *needs[2];	/* specification: depends on these */
	const char *not_with;	/* see the comments */
};

#define EXT(_id, _uapi, _name, _enable, _disable, ...)			\
	{ .id = _id, .uapi = KVM_RISCV_ISA_EXT_##_uapi, .name = _name,	\
	  .enable = _enable, .disable = _disable, __VA_ARGS__ }
#define NEEDS(...)		.needs = { __VA_ARGS__ }

/*
 * An extension can be disabled when there is a bit that takes it from VS-mode:
 * sstatus.FS and VS, henvcfg.{PBMTE,ADUE,CBIE,CBCFE,CBZE}, hstateen0.  All of
 * the others stay.  H is never given to a guest, so there is nothing to take
 * from it.
 */
static const struct isa_ext exts[] = {
	EXT(0, A, "a", YES, NO),
	EXT(1, C, "c", YES, NO),
	EXT(2, D, "d", YES, YES),
	EXT(3, F, "f", YES, YES),
	EXT(4, H, "h", NO, YES),
	EXT(5, I, "i", YES, NO),
	EXT(6, M, "m", YES, NO),
	EXT(7, SVPBMT, "svpbmt", YES, YES),
	EXT(8, SSTC, "sstc", YES, NO),
	EXT(9, SVINVAL, "svinval", YES, NO),
	EXT(10, ZIHINTPAUSE, "zihintpause", YES, NO),
	EXT(11, ZICBOM, "zicbom", YES, YES),
	EXT(12, ZICBOZ, "zicboz", YES, YES),
	EXT(13, ZBB, "zbb", YES, NO),
	EXT(14, SSAIA, "ssaia", YES, IF_SMSTATEEN),
	EXT(15, V, "v", IF_HOST_V, YES),
	EXT(16, SVNAPOT, "svnapot", YES, NO),
	EXT(17, ZBA, "zba", YES, NO),
	EXT(18, ZBS, "zbs", YES, NO),
	EXT(19, ZICNTR, "zicntr", YES, NO),
	EXT(20, ZICSR, "zicsr", YES, NO),
	EXT(21, ZIFENCEI, "zifencei", YES, NO),
	EXT(22, ZIHPM, "zihpm", YES, NO),
	EXT(23, SMSTATEEN, "smstateen", YES, YES),
	EXT(24, ZICOND, "zicond", YES, NO),
	EXT(25, ZBC, "zbc", YES, NO),
	EXT(26, ZBKB, "zbkb", YES, NO),
	EXT(27, ZBKC, "zbkc", YES, NO),
	EXT(28, ZBKX, "zbkx", YES, NO),
	EXT(29, ZKND, "zknd", YES, NO),
	EXT(30, ZKNE, "zkne", YES, NO),
	EXT(31, ZKNH, "zknh", YES, NO),
	EXT(32, ZKR, "zkr", YES, NO),
	EXT(33, ZKSED, "zksed", YES, NO),
	EXT(34, ZKSH, "zksh", YES, NO),
	EXT(35, ZKT, "zkt", YES, NO),
	EXT(36, ZVBB, "zvbb", YES, NO),
	EXT(37, ZVBC, "zvbc", YES, NO),
	EXT(38, ZVKB, "zvkb", YES, NO),
	EXT(39, ZVKG, "zvkg", YES, NO),
	EXT(40, ZVKNED, "zvkned", YES, NO),
	EXT(41, ZVKNHA, "zvknha", YES, NO),
	EXT(42, ZVKNHB, "zvknhb", YES, NO),
	EXT(43, ZVKSED, "zvksed", YES, NO),
	EXT(44, ZVKSH, "zvksh", YES, NO),
	EXT(45, ZVKT, "zvkt", YES, NO),
	EXT(46, ZFH, "zfh", YES, NO),
	EXT(47, ZFHMIN, "zfhmin", YES, NO),
	EXT(48, ZIHINTNTL, "zihintntl", YES, NO),
	EXT(49, ZVFH, "zvfh", YES, NO),
	EXT(50, ZVFHMIN, "zvfhmin", YES, NO),
	EXT(51, ZFA, "zfa", YES, NO),
	EXT(52, ZTSO, "ztso", YES, NO),
	EXT(53, ZACAS, "zacas", YES, NO),
	EXT(54, SSCOFPMF, "sscofpmf", IF_SSAIA, NO),
	EXT(55, ZIMOP, "zimop", YES, NO),
	EXT(56, ZCA, "zca", YES, NO),
	EXT(57, ZCB, "zcb", YES, NO, NEEDS("zca")),
	EXT(58, ZCD, "zcd", YES, NO, NEEDS("zca", "d")),
	EXT(59, ZCF, "zcf", RV32, NO),
	EXT(60, ZCMOP, "zcmop", YES, NO, NEEDS("zca")),
	EXT(61, ZAWRS, "zawrs", YES, NO),
	EXT(62, SMNPM, "smnpm", YES, YES),
	EXT(63, SSNPM, "ssnpm", YES, NO),
	EXT(64, SVADE, "svade", YES, NO),
	/*
	 * With both described the firmware starts with Svade, and Svadu needs
	 * SBI FWFT, which this kernel does not use.
	 */
	EXT(65, SVADU, "svadu", YES, YES, .not_with = "svade"),
	EXT(66, SVVPTC, "svvptc", YES, NO),
	EXT(67, ZABHA, "zabha", YES, NO, NEEDS("zaamo")),
	EXT(68, ZICCRSE, "ziccrse", YES, NO, NEEDS("zalrsc")),
	EXT(69, ZAAMO, "zaamo", YES, NO),
	EXT(70, ZALRSC, "zalrsc", YES, NO),
	EXT(71, ZICBOP, "zicbop", YES, NO),
	EXT(72, ZFBFMIN, "zfbfmin", YES, NO, NEEDS("f")),
	EXT(73, ZVFBFMIN, "zvfbfmin", YES, NO, NEEDS("zve32f")),
	EXT(74, ZVFBFWMA, "zvfbfwma", YES, NO, NEEDS("zfbfmin", "zvfbfmin")),
	EXT(75, ZCLSD, "zclsd", RV32, NO),
	EXT(76, ZILSD, "zilsd", RV32, NO),
	EXT(77, ZALASR, "zalasr", YES, NO),
};

/*
 * Those that have numbers, but need host state that the kernel of this test
 * has not got: an array of IDs in its processor.h, if not just these.
 */
#ifdef RISCV_ISA_EXTS_NOT_OFFERED
#define not_offered	RISCV_ISA_EXTS_NOT_OFFERED
#else
static const unsigned int not_offered[] = {
	KVM_RISCV_ISA_EXT_SMNPM, KVM_RISCV_ISA_EXT_SSNPM,
};
#endif

#define NR_EXTS		ARRAY_SIZE(exts)
#define MULTI_REGS	((NR_EXTS + 63) / 64)

/* What the specifications say to be part of something else */
static const struct {
	const char *has[2];
	const char *implies;
} implied[] = {
	{ { "a" }, "zaamo" }, { { "a" }, "zalrsc" },
	{ { "c" }, "zca" }, { { "c", "d" }, "zcd" },
	{ { "b" }, "zba" }, { { "b" }, "zbb" }, { { "b" }, "zbs" },
	{ { "v" }, "zve64d" }, { { "zve64d" }, "zve64f" },
	{ { "zve64f" }, "zve32f" }, { { "zvbb" }, "zvkb" },
	{ { "zk" }, "zkn" }, { { "zk" }, "zkr" }, { { "zk" }, "zkt" },
	{ { "zkn" }, "zbkb" }, { { "zkn" }, "zbkc" }, { { "zkn" }, "zbkx" },
	{ { "zkn" }, "zknd" }, { { "zkn" }, "zkne" }, { { "zkn" }, "zknh" },
	{ { "zks" }, "zbkb" }, { { "zks" }, "zbkc" }, { { "zks" }, "zbkx" },
	{ { "zks" }, "zksed" }, { { "zks" }, "zksh" },
	{ { "zvknc" }, "zvkn" }, { { "zvknc" }, "zvbc" },
	{ { "zvkng" }, "zvkn" }, { { "zvkng" }, "zvkg" },
	{ { "zvkn" }, "zvkned" }, { { "zvkn" }, "zvknhb" },
	{ { "zvkn" }, "zvkb" }, { { "zvkn" }, "zvkt" },
	{ { "zvksc" }, "zvks" }, { { "zvksc" }, "zvbc" },
	{ { "zvksg" }, "zvks" }, { { "zvksg" }, "zvkg" },
	{ { "zvks" }, "zvksed" }, { { "zvks" }, "zvksh" },
	{ { "zvks" }, "zvkb" }, { { "zvks" }, "zvkt" },
};

/* The extensions that all harts of the host have, by name */
#define MAX_NAMES	512
static char *host_names[MAX_NAMES];
static unsigned int nr_host_names;

static bool host_lists(const char *name)
{
	unsigned int i;

	for (i = 0; i < nr_host_names; i++)
		if (!strcmp(host_names[i], name))
			return true;
	return false;
}

static void host_add(const char *name)
{
	TEST_ASSERT(nr_host_names < MAX_NAMES, "too many extensions");
	if (!host_lists(name))
		host_names[nr_host_names++] = strdup(name);
}

/* Keep only what is in @names: strings one after the other, @len in total */
static void host_intersect(const char *names, size_t len)
{
	unsigned int i, kept = 0;
	size_t pos;

	for (i = 0; i < nr_host_names; i++) {
		for (pos = 0; pos < len; pos += strlen(names + pos) + 1)
			if (!strcmp(names + pos, host_names[i]))
				break;
		if (pos < len)
			host_names[kept++] = host_names[i];
	}
	nr_host_names = kept;
}

/* Return: false when the firmware describes no harts this way, as with ACPI */
static bool host_from_devicetree(void)
{
	const char *dir = "/proc/device-tree/cpus";
	char path[512], names[8192];
	unsigned int harts = 0;
	struct dirent *entry;
	size_t len, pos;
	FILE *file;
	DIR *cpus;

	cpus = opendir(dir);
	if (!cpus)
		return false;
	while ((entry = readdir(cpus))) {
		if (strncmp(entry->d_name, "cpu@", 4))
			continue;
		snprintf(path, sizeof(path), "%s/%s/riscv,isa-extensions", dir,
			 entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		len = fread(names, 1, sizeof(names) - 1, file);
		names[len] = '\0';
		fclose(file);
		if (harts++)
			host_intersect(names, len);
		else
			for (pos = 0; pos < len; pos += strlen(names + pos) + 1)
				host_add(names + pos);
	}
	closedir(cpus);

	return harts;
}

/* The next best source; "isa" is what all harts have in common */
static bool host_from_cpuinfo(void)
{
	char line[8192], letter[2] = "", *isa = NULL, *name;
	FILE *file;

	file = fopen("/proc/cpuinfo", "r");
	if (!file)
		return false;
	while (!isa && fgets(line, sizeof(line), file))
		if (!strncmp(line, "isa", 3))
			isa = strstr(line, "rv64");
	fclose(file);
	if (!isa)
		return false;
	for (isa += 4; *isa && *isa != '_' && *isa != '\n'; isa++) {
		letter[0] = *isa;
		host_add(letter);
	}
	for (name = strtok(isa, "_\n"); name; name = strtok(NULL, "_\n"))
		host_add(name);

	return true;
}

static void host_add_implied(void)
{
	unsigned int i, before;

	do {
		before = nr_host_names;
		for (i = 0; i < ARRAY_SIZE(implied); i++)
			if (host_lists(implied[i].has[0]) &&
			    (!implied[i].has[1] || host_lists(implied[i].has[1])))
				host_add(implied[i].implies);
	} while (nr_host_names != before);
}

static const struct isa_ext *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < NR_EXTS; i++)
		if (!strcmp(exts[i].name, name))
			return &exts[i];
	return NULL;
}

static bool host_has(const struct isa_ext *ext)
{
	const struct isa_ext *need;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(not_offered); i++)
		if (not_offered[i] == ext->id)
			return false;
	if (ext->enable == RV32 || !host_lists(ext->name))
		return false;
	if (ext->not_with && host_lists(ext->not_with))
		return false;
	for (i = 0; i < ARRAY_SIZE(ext->needs) && ext->needs[i]; i++) {
		need = find(ext->needs[i]);
		if (need ? !host_has(need) : !host_lists(ext->needs[i]))
			return false;
	}

	return true;
}

static bool host_gives_v(void)
{
#ifdef PR_RISCV_V_GET_CONTROL
	return (prctl(PR_RISCV_V_GET_CONTROL) &
		PR_RISCV_V_VSTATE_CTRL_CUR_MASK) == PR_RISCV_V_VSTATE_CTRL_ON;
#else
	return false;
#endif
}

static bool allowed(enum rule rule)
{
	switch (rule) {
	case YES:
		return true;
	case IF_SSAIA:
		return host_has(find("ssaia"));
	case IF_SMSTATEEN:
		return host_has(find("smstateen"));
	case IF_HOST_V:
		return host_gives_v();
	default:
		return false;
	}
}

/* Register access: 0 or an errno */

static int get(struct kvm_vcpu *vcpu, uint64_t id, unsigned long *val)
{
	return __vcpu_get_reg(vcpu, id, val) ? errno : 0;
}

static int set(struct kvm_vcpu *vcpu, uint64_t id, unsigned long val)
{
	return __vcpu_set_reg(vcpu, id, val) ? errno : 0;
}

static uint64_t multi(uint64_t subtype, unsigned int nr)
{
	return __kvm_reg_id(KVM_REG_RISCV_ISA_EXT, subtype, nr,
			    KVM_REG_SIZE_ULONG);
}

static bool failed;

static void check(const char *what, unsigned long got, unsigned long want)
{
	if (got == want)
		return;
	ksft_print_msg("%s: is %lu, should be %lu\n", what, got, want);
	failed = true;
}

static unsigned int times_listed(struct kvm_vcpu *vcpu, uint64_t id)
{
	struct kvm_reg_list *list = vcpu_get_reg_list(vcpu);
	unsigned int i, times = 0;

	for (i = 0; i < list->n; i++)
		times += list->reg[i] == id;
	free(list);

	return times;
}

/* One extension, on a vCPU that has not run and on one that has */
static void test_ext(const struct isa_ext *ext, struct kvm_vcpu *vcpu,
		     struct kvm_vcpu *ran)
{
	bool present = host_has(ext), has = present && allowed(ext->enable);
	uint64_t id = RISCV_ISA_EXT_REG(ext->id);
	unsigned long val = 77, isa;
	int toggle;

	failed = false;
	check("number in the header", ext->uapi, ext->id);
	check("times listed", times_listed(vcpu, id), present);
	if (!present) {
		check("errno of get", get(vcpu, id, &val), ENOENT);
		check("errno of set to 0", set(vcpu, id, 0), ENOENT);
		check("errno of set to 1", set(vcpu, id, 1), ENOENT);
		check("errno of set after run", set(ran, id, 1), ENOENT);
		goto out;
	}

	check("errno of get", get(vcpu, id, &val), 0);
	check("value", val, has);
	check("errno of set to the same", set(vcpu, id, has), 0);
	check("errno of set to 2", set(vcpu, id, 2), EINVAL);
	if (ext->name[1] == '\0') {
		get(vcpu, RISCV_CONFIG_REG(isa), &isa);
		check("bit of isa", !!(isa & BIT(ext->name[0] - 'a')), has);
	}

	toggle = allowed(has ? ext->disable : ext->enable) ? 0 : EINVAL;
	check("errno of a change", set(vcpu, id, !has), toggle);
	get(vcpu, id, &val);
	check("value after a change", val, toggle ? has : !has);
	check("times listed after a change", times_listed(vcpu, id), 1);
	check("errno of the change back", set(vcpu, id, has), 0);
	get(vcpu, id, &val);
	check("value after the change back", val, has);

	check("errno of set to the same after run", set(ran, id, has), 0);
	check("errno of a change after run", set(ran, id, !has), EBUSY);
	get(ran, id, &val);
	check("value after run", val, has);
out:
	ksft_test_result(!failed, "%s (%u): %s\n", ext->name, ext->id,
			 present ? "present" : "absent");
}

static void singles(struct kvm_vcpu *vcpu, unsigned long *words)
{
	unsigned long val;
	unsigned int i;

	memset(words, 0, MULTI_REGS * sizeof(*words));
	for (i = 0; i < NR_EXTS; i++)
		if (!get(vcpu, RISCV_ISA_EXT_REG(i), &val) && val)
			words[i / 64] |= BIT(i % 64);
}

static void check_multi(struct kvm_vcpu *vcpu, const char *when)
{
	unsigned long words[MULTI_REGS], en, dis;
	unsigned int i;

	singles(vcpu, words);
	for (i = 0; i < MULTI_REGS; i++) {
		en = 0;
		dis = 0;
		check(when, get(vcpu, multi(KVM_REG_RISCV_ISA_MULTI_EN, i), &en), 0);
		check(when, get(vcpu, multi(KVM_REG_RISCV_ISA_MULTI_DIS, i), &dis), 0);
		check(when, en, words[i]);
		check(when, dis, ~words[i]);
	}
}

/* Set all of one kind of multi register */
static void set_all(struct kvm_vcpu *vcpu, uint64_t subtype, const char *what)
{
	unsigned int i;

	for (i = 0; i < MULTI_REGS; i++)
		check(what, set(vcpu, multi(subtype, i), -1UL), 0);
}

static void check_all(struct kvm_vcpu *vcpu, bool enabled, const char *when)
{
	unsigned long val;
	unsigned int i;
	bool want;

	for (i = 0; i < NR_EXTS; i++) {
		if (!host_has(&exts[i]))
			continue;
		want = allowed(exts[i].enable) &&
		       (enabled || !allowed(exts[i].disable));
		get(vcpu, RISCV_ISA_EXT_REG(i), &val);
		if (val != want)
			ksft_print_msg("%s:\n", exts[i].name);
		check(when, val, want);
	}
}

static void test_multi(struct kvm_vcpu *vcpu, struct kvm_vcpu *ran)
{
	static const uint64_t subtypes[] = {
		KVM_REG_RISCV_ISA_MULTI_EN, KVM_REG_RISCV_ISA_MULTI_DIS,
	};
	unsigned long val;
	unsigned int i;

	failed = false;
	check_multi(vcpu, "at first");
	set_all(vcpu, KVM_REG_RISCV_ISA_MULTI_DIS, "errno of disable all");
	check_all(vcpu, false, "after disable all");
	check_multi(vcpu, "after disable all");
	set_all(vcpu, KVM_REG_RISCV_ISA_MULTI_EN, "errno of enable all");
	check_all(vcpu, true, "after enable all");
	check_multi(vcpu, "after enable all");
	ksft_test_result(!failed, "multi registers agree with the single ones\n");

	failed = false;
	set_all(ran, KVM_REG_RISCV_ISA_MULTI_DIS, "errno of disable all");
	check_all(ran, true, "after run and disable all");
	ksft_test_result(!failed, "multi registers change nothing after run\n");

	failed = false;
	for (i = 0; i < ARRAY_SIZE(subtypes); i++) {
		check("errno of get past the end",
		      get(vcpu, multi(subtypes[i], MULTI_REGS), &val), ENOENT);
		check("errno of set past the end",
		      set(vcpu, multi(subtypes[i], MULTI_REGS), -1UL), ENOENT);
		check("errno of get far past the end",
		      get(vcpu, multi(subtypes[i], 0xffff), &val), ENOENT);
	}
	check_all(vcpu, true, "after set past the end");
	ksft_test_result(!failed, "multi registers end where the IDs do\n");
}

#define ISA_EXT(size, low)	\
	(KVM_REG_RISCV | (size) | KVM_REG_RISCV_ISA_EXT | (low))
#define ANY_SUBTYPE(n)		((uint64_t)(n) << KVM_REG_RISCV_SUBTYPE_SHIFT)

static void test_wild(struct kvm_vcpu *vcpu)
{
	static const struct {
		const char *what;
		uint64_t id;
		int error;
	} wild[] = {
		{ "first ID past the end",
		  ISA_EXT(KVM_REG_SIZE_U64, NR_EXTS), ENOENT },
		{ "second ID past the end",
		  ISA_EXT(KVM_REG_SIZE_U64, NR_EXTS + 1), ENOENT },
		{ "largest ID", ISA_EXT(KVM_REG_SIZE_U64, 0xffff), ENOENT },
		{ "bit 32 beside a good ID",
		  ISA_EXT(KVM_REG_SIZE_U64, BIT(32) | 0), ENOENT },
		{ "bit 51 beside a good ID",
		  ISA_EXT(KVM_REG_SIZE_U64, BIT(51) | 0), ENOENT },
		{ "subtype 3", ISA_EXT(KVM_REG_SIZE_U64, ANY_SUBTYPE(3)), ENOENT },
		{ "subtype 0xff",
		  ISA_EXT(KVM_REG_SIZE_U64, ANY_SUBTYPE(0xff)), ENOENT },
		{ "8 bit", ISA_EXT(KVM_REG_SIZE_U8, 0), EINVAL },
		{ "32 bit", ISA_EXT(KVM_REG_SIZE_U32, 0), EINVAL },
		{ "128 bit", ISA_EXT(KVM_REG_SIZE_U128, 0), EINVAL },
		{ "2048 bit", ISA_EXT(KVM_REG_SIZE_U2048, 0), EINVAL },
		{ "32 bit and past the end",
		  ISA_EXT(KVM_REG_SIZE_U32, NR_EXTS), EINVAL },
		{ "type 0xff", KVM_REG_RISCV | KVM_REG_SIZE_U64 |
		  KVM_REG_RISCV_TYPE_MASK, ENOENT },
		{ "config register past the end", KVM_REG_RISCV |
		  KVM_REG_SIZE_U64 | KVM_REG_RISCV_CONFIG |
		  sizeof(struct kvm_riscv_config) / sizeof(long), ENOENT },
	};
	unsigned char buf[256] = { 0 };
	struct kvm_one_reg reg = { .addr = (unsigned long)buf };
	unsigned int i;
	char what[64];

	for (i = 0; i < ARRAY_SIZE(wild); i++) {
		failed = false;
		reg.id = wild[i].id;
		snprintf(what, sizeof(what), "errno of get %#llx", reg.id);
		check(what, __vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &reg) ?
		      errno : 0, wild[i].error);
		snprintf(what, sizeof(what), "errno of set %#llx", reg.id);
		check(what, __vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg) ?
		      errno : 0, wild[i].error);
		ksft_test_result(!failed, "wild register: %s\n", wild[i].what);
	}

	failed = false;
	reg.id = RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_I);
	reg.addr = 1;
	check("errno of get", __vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &reg) ?
	      errno : 0, EFAULT);
	check("errno of set", __vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg) ?
	      errno : 0, EFAULT);
	check_all(vcpu, true, "after wild accesses");
	ksft_test_result(!failed, "wild register: bad address\n");
}

static void test_list(struct kvm_vcpu *vcpu)
{
	struct kvm_reg_list none = { .n = 0 }, *list;
	unsigned int i, listed = 0, want = 0;
	uint64_t id;

	failed = false;
	check("errno without room",
	      __vcpu_ioctl(vcpu, KVM_GET_REG_LIST, &none) ? errno : 0, E2BIG);
	list = vcpu_get_reg_list(vcpu);
	check("number of registers", list->n, none.n);
	for (i = 0; i < list->n; i++) {
		id = list->reg[i];
		listed += (id & KVM_REG_RISCV_TYPE_MASK) == KVM_REG_RISCV_ISA_EXT;
	}
	free(list);
	for (i = 0; i < NR_EXTS; i++)
		want += host_has(&exts[i]);
	check("listed extensions", listed, want);
	ksft_test_result(!failed, "the list has the host's extensions, each once\n");
}

/* The block size of a cache block extension comes and goes with it */
static void test_block_size(struct kvm_vcpu *vcpu, const char *name,
			    uint64_t reg)
{
	const struct isa_ext *ext = find(name);
	uint64_t id = RISCV_ISA_EXT_REG(ext->id);
	unsigned long size;

	failed = false;
	if (!host_has(ext)) {
		check("errno of get", get(vcpu, reg, &size), ENOENT);
		check("errno of set", set(vcpu, reg, 64), ENOENT);
		check("times listed", times_listed(vcpu, reg), 0);
		goto out;
	}
	check("errno of get", get(vcpu, reg, &size), 0);
	check("power of two", !size || size & (size - 1), 0);
	check("errno of set to the same", set(vcpu, reg, size), 0);
	check("errno of set to another", set(vcpu, reg, size * 2), EINVAL);
	check("times listed", times_listed(vcpu, reg), 1);
	if (!set(vcpu, id, 0)) {
		check("errno of get when disabled", get(vcpu, reg, &size), ENOENT);
		check("errno of set when disabled", set(vcpu, reg, size), ENOENT);
		check("times listed when disabled", times_listed(vcpu, reg), 0);
		set(vcpu, id, 1);
	}
out:
	ksft_test_result(!failed, "block size of %s: %s\n", name,
			 host_has(ext) ? "present" : "absent");
}

/* The single letters at once: impossible wishes are ignored, wild bits not */
static void test_isa_config(struct kvm_vcpu *vcpu)
{
	uint64_t reg = RISCV_CONFIG_REG(isa);
	unsigned long all, least = 0, val;
	unsigned int i;

	failed = false;
	check("errno of get", get(vcpu, reg, &all), 0);
	for (i = 0; i < NR_EXTS; i++)
		if (!exts[i].name[1] && host_has(&exts[i]) &&
		    allowed(exts[i].enable) && !allowed(exts[i].disable))
			least |= BIT(exts[i].name[0] - 'a');
	check("errno of set to none", set(vcpu, reg, 0), 0);
	get(vcpu, reg, &val);
	check("value after set to none", val, least);
	check("errno of set to all", set(vcpu, reg, BIT(25) - 1), 0);
	get(vcpu, reg, &val);
	check("value after set to all", val, all);
	for (i = 26; i < 64; i++)
		check("errno of set of a wild bit", set(vcpu, reg, all | BIT(i)),
		      EINVAL);
	get(vcpu, reg, &val);
	check("value after set of wild bits", val, all);
	ksft_test_result(!failed, "isa config register\n");
}

static void guest_code(void)
{
	GUEST_DONE();
}

int main(void)
{
	struct kvm_vcpu *ran, *vcpu;
	struct kvm_vm *vm;
	unsigned int i;

	ksft_print_header();
	if (!host_from_devicetree()) {
		if (!host_from_cpuinfo())
			ksft_exit_skip("no description of the harts found\n");
		ksft_print_msg("no device tree: host extensions as in /proc/cpuinfo\n");
	}
	host_add_implied();
	ksft_set_plan(NR_EXTS + 3 + 15 + 1 + 3 + 1 + 1);

	ksft_test_result(NR_EXTS == KVM_RISCV_ISA_EXT_MAX,
			 "the test knows all of the %u IDs\n",
			 KVM_RISCV_ISA_EXT_MAX);

	vm = vm_create_with_one_vcpu(&ran, guest_code);
	vcpu_run(ran);
	TEST_ASSERT_EQ(get_ucall(ran, NULL), UCALL_DONE);
	vcpu = __vm_vcpu_add(vm, 1);

	for (i = 0; i < NR_EXTS; i++)
		test_ext(&exts[i], vcpu, ran);
	test_multi(vcpu, ran);
	test_list(vcpu);
	test_block_size(vcpu, "zicbom", RISCV_CONFIG_REG(zicbom_block_size));
	test_block_size(vcpu, "zicbop", RISCV_CONFIG_REG(zicbop_block_size));
	test_block_size(vcpu, "zicboz", RISCV_CONFIG_REG(zicboz_block_size));
	test_isa_config(vcpu);
	test_wild(vcpu);

	kvm_vm_free(vm);
	ksft_finished();
}
