/* Loaded into an SSH server that is tested: every user has the password "secret", and the machine's own passwords stay unread. */

#include <shadow.h>

static struct spwd entry;

struct spwd *getspnam(const char *name)
{
    entry.sp_namp = (char *)name;
    entry.sp_pwdp = "$6$culvert$8/nG80QCcCAHeS1iuuHYeS2juJzp2iGEF.KAEqN49mOY2e.lbvdFOw78sVmQn1kQy1rlauBr5/vwwizUMc/.8/";
    entry.sp_lstchg = 20000;
    entry.sp_min = 0;
    entry.sp_max = 99999;
    entry.sp_warn = 7;
    entry.sp_inact = -1;
    entry.sp_expire = -1;
    return &entry;
}
