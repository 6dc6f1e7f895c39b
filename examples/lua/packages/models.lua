--- What is stored: packages, their maintainers, and a total per section.
local models = {}

function models.declare(db)
  db:queue { type = "package", partitions = 16, retention = 0 }
  return {
    Maintainer = db:model {
      table = "maintainer",
      indexes = { { name = "by_name", fields = { { name = "name", type = "string" } } } },
    },
    Section = db:model { table = "section" },
    Package = db:model {
      table = "package",
      indexes = {
        {
          name = "by_section",
          fields = { { name = "section", type = "string" }, { name = "size", type = "number" } },
        },
        { name = "by_maintainer", fields = { { name = "maintainer_id", type = "string" } } },
        { name = "by_dependency", fields = { { name = "depends_ids", type = "string" } }, sparse = true },
        { name = "by_tag", fields = { { name = "tags", type = "string" } }, sparse = true },
        {
          name = "installed",
          fields = { { name = "section", type = "string" } },
          condition = function(package) return package.installed end,
        },
      },
      relationships = {
        { source_field_name = "depends_ids", destination_field_name = "depends", model = "package" },
        { source_field_name = "maintainer_id", destination_field_name = "maintainer", model = "maintainer" },
      },
      -- the events of a section are handled one after the other
      partition_key = function(package) return package.section end,
      events = function(package)
        return { { name = "package", payload = { section = package.section, size = package.size } } }
      end,
    },
  }
end

return models
