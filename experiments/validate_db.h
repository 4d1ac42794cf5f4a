/* The store of a validation: what was measured, one transaction per run or calibration round, so
 * that a killed validation goes on where it was. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_DB_H
#define TANDEM_EXPERIMENTS_VALIDATE_DB_H

#include "experiments/validate.h"

/* Opens or makes the file. A file of another model, machine numerics or set of policies is
 * ERR_MISMATCH; one that holds runs is ERR_USAGE unless v->o->resume; one that another process
 * measures into (it holds `STORE.lock`) ERR_IO. Loads all that is there. */
int val_db_open(struct validation *v, struct err *e);
void val_db_close(struct validation *v);

/* The setting is VAL_UNCHANGED, or VAL_THREADS for the changed session's. */
int val_db_put_round(struct validation *v, enum val_setting setting, int32_t round,
                     int32_t first_sample, struct err *e);
int val_db_put_run(struct validation *v, int32_t prompt, int32_t policy, int32_t rep,
                   struct err *e);

#endif
