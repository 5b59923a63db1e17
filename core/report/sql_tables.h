// The virtual tables themselves; private to sql.cc.
#pragma once

#include <sqlite3.h>

#include <memory>

#include "core/report/sql.h"

namespace pygc::report {

class SqlTables {
 public:
  /// `sources` outlives it.
  explicit SqlTables(const SqlSources& sources);
  ~SqlTables();
  SqlTables(const SqlTables&) = delete;
  SqlTables& operator=(const SqlTables&) = delete;

  /// Makes the tables and views known to `db`, which must be closed before this object goes. Returns a SQLite result code.
  [[nodiscard]] int Register(sqlite3* db);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::report
