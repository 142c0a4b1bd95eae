-- +goose Up

-- A console gives connections of other sensors numbers of its own. origin is the number that its sensor has given, boot which start of the sensor; 0 of a
-- connection of this process.
ALTER TABLE connections ADD COLUMN boot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN origin INTEGER NOT NULL DEFAULT 0;
